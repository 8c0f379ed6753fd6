"""Asks a database what a DECNET dashboard asks, through SQLAlchemy as it does; prints the answers as one JSON object.

Usage: decnet.py SQLALCHEMY_URL
"""
import json
import sys

from sqlalchemy import Column, DateTime, Integer, String, Text, create_engine, desc, func, literal_column, or_, select, text
from sqlalchemy.orm import declarative_base

Base = declarative_base()


class Log(Base):
    __tablename__ = "logs"
    id = Column(Integer, primary_key=True)
    timestamp = Column(DateTime)
    decky = Column(String)
    service = Column(String)
    event_type = Column(String)
    attacker_ip = Column(String)
    raw_line = Column(Text)
    fields = Column(Text)
    msg = Column(Text)
    trace_id = Column(String)
    span_id = Column(String)


class Bounty(Base):
    __tablename__ = "bounty"
    id = Column(Integer, primary_key=True)
    timestamp = Column(DateTime)
    decky = Column(String)
    service = Column(String)
    attacker_ip = Column(String)
    bounty_type = Column(String)
    payload = Column(Text)


engine = create_engine(sys.argv[1])
is_mysql = engine.dialect.name == "mysql"
quarter = 900
bucket = literal_column(
    f"FROM_UNIXTIME((UNIX_TIMESTAMP(timestamp) DIV {quarter}) * {quarter})"
    if is_mysql
    else f"datetime((strftime('%s', timestamp) / {quarter}) * {quarter}, 'unixepoch')"
).label("bucket")
username = "JSON_UNQUOTE(JSON_EXTRACT(fields, '$.username'))" if is_mysql else "json_extract(fields, '$.username')"

with engine.connect() as connection:
    def rows(statement, **values):
        return [list(row) for row in connection.execute(statement, values)]

    def ids(*conditions, **values):
        return [row[0] for row in rows(select(Log.id).where(*conditions).order_by(Log.id), **values)]

    like = "%hunter%"
    page = select(Log).order_by(desc(Log.timestamp)).offset(1).limit(2)
    answers = {
        "total": rows(select(func.count()).select_from(Log))[0][0],
        "max_id": rows(select(func.max(Log.id)))[0][0],
        "page": [
            [row.id, row.timestamp.isoformat(), row.decky, row.event_type, row.attacker_ip, row.msg, row.trace_id]
            for row in connection.execute(page)
        ],
        "fields": [json.loads(row[0]) for row in rows(select(Log.fields).order_by(Log.id))],
        "decky": ids(Log.decky == "web-1"),
        "service_attacker": ids(Log.service == "ssh", Log.attacker_ip == "203.0.113.9"),
        "unknown": ids(Log.attacker_ip == "Unknown"),
        "json": ids(text(f"{username} = :val"), val="root"),
        "free": ids(or_(Log.raw_line.like(like), Log.decky.like(like), Log.service.like(like))),
        "since": ids(Log.timestamp >= "2026-03-01 12:15:00"),
        "after": ids(Log.id > 2),
        "histogram": [
            [str(time), count]
            for time, count in rows(select(bucket, func.count()).select_from(Log).group_by(text("bucket")).order_by(text("bucket")))
        ],
        "attackers": rows(select(func.count(func.distinct(Log.attacker_ip))))[0][0],
        "bounty": [
            [row.timestamp.isoformat(), row.decky, row.service, row.attacker_ip, row.bounty_type, json.loads(row.payload)]
            for row in connection.execute(select(Bounty).where(Bounty.bounty_type == "credential").order_by(desc(Bounty.timestamp)))
        ],
    }
print(json.dumps(answers))
