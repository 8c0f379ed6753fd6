#!/usr/bin/env python3
"""Writes the dashboards of this folder: `python3 grafana/make.py`. With `--check` it only says whether they are up to date.

A dashboard is rows of panels; a panel is a title, a question in words, queries with their legends, a unit. Where panels
stand, their ids and all that Grafana wants besides is reckoned here, so that what can be wrong stands in one place.
"""
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}
LANE = 'instance=~"$instance",lane=~"$backend"'
KIND = LANE + ',kind=~"$kind"'
SQLITE = 'instance=~"$instance"'
INSTANCE = 'instance=~"$instance"'
RATE = "[$__rate_interval]"


def target(expr, legend="", ref="A", **more):
    return {"refId": ref, "datasource": PROMETHEUS, "expr": expr, "legendFormat": legend, **more}


def panel(kind, title, question, targets, *, unit="short", width=8, height=7, datasource=PROMETHEUS, **more):
    """One panel; `targets` are pairs of query and legend, or whole targets."""
    refs = [
        each if isinstance(each, dict) else target(each[0], each[1], "ABCDEFGH"[index])
        for index, each in enumerate(targets)
    ]
    defaults = {"unit": unit, **more.pop("defaults", {})}
    options = more.pop("options", {})
    if kind == "timeseries":
        custom = {"lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": False}
        defaults.setdefault("custom", custom)
        defaults.setdefault("min", 0)
        options = {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                   "tooltip": {"mode": "multi", "sort": "desc"}, **options}
    if kind == "stat":
        options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                   "colorMode": "background", "graphMode": "area", **options}
    if kind == "bargauge":
        options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                   "orientation": "horizontal", "displayMode": "lcd", **options}
    return {"type": kind, "title": title, "description": question, "datasource": datasource, "targets": refs,
            "fieldConfig": {"defaults": defaults, "overrides": more.pop("overrides", [])}, "options": options,
            "size": (width, height), **more}


def steps(*pairs, mode="absolute"):
    """Thresholds: the first colour, then (value, colour)."""
    first, *rest = pairs
    return {"thresholds": {"mode": mode, "steps": [{"color": first, "value": None}] +
                           [{"color": colour, "value": value} for value, colour in rest]}}


def words(**colours):
    """Shows numbers as words: words(running=(1, "green"))."""
    options = {str(number): {"text": word, "color": colour, "index": index}
               for index, (word, (number, colour)) in enumerate(colours.items())}
    return {"mappings": [{"type": "value", "options": options}]}


def quantiles(metric, by, selector):
    return [
        (f"histogram_quantile({q}, sum by (le, {by}) (rate({metric}_bucket{{{selector}}}{RATE})))", f"p{str(q)[2:]:0<2} {{{{{by}}}}}")
        for q in (0.5, 0.99, 0.999)
    ]


def laid_out(rows):
    """Gives panels their places and ids, row below row, 24 columns wide."""
    panels, y, number = [], 0, 1
    for title, collapsed, children in rows:
        row = {"type": "row", "title": title, "collapsed": collapsed, "id": number, "panels": [],
               "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}}
        number, y, x, tallest = number + 1, y + 1, 0, 0
        placed = []
        for child in children:
            width, height = child["size"]
            if x + width > 24:
                x, y, tallest = 0, y + tallest, 0
            placed.append({**{key: value for key, value in child.items() if key != "size"}, "id": number,
                           "gridPos": {"x": x, "y": y, "w": width, "h": height}})
            number, x, tallest = number + 1, x + width, max(tallest, height)
        y += tallest
        if collapsed:
            row["panels"] = placed
            panels.append(row)
        else:
            panels.append(row)
            panels.extend(placed)
    return panels


def variable(name, label, query, **more):
    return {"name": name, "label": label, "type": "query", "datasource": PROMETHEUS, "query": query, "refresh": 2,
            "includeAll": True, "multi": True, "allValue": ".*", "sort": 1,
            "current": {"text": "All", "value": "$__all"}, **more}


def datasource_variable(name, label, plugin):
    return {"name": name, "label": label, "type": "datasource", "query": plugin, "refresh": 1, "includeAll": False,
            "multi": False}


def dashboard(uid, title, description, variables, rows, **more):
    return {
        "uid": uid, "title": title, "description": description, "tags": ["forebay"], "schemaVersion": 39, "version": 1,
        "editable": True, "graphTooltip": 1, "refresh": "10s", "time": {"from": "now-1h", "to": "now"}, "timezone": "browser",
        "annotations": {"list": []}, "templating": {"list": variables}, "panels": laid_out(rows),
        "links": [{"type": "dashboards", "title": "forebay", "tags": ["forebay"], "asDropdown": True, "icon": "external link",
                   "includeVars": False, "keepTime": True, "targetBlank": False, "tooltip": "", "url": ""}],
        **more,
    }


def overview():
    state = words(running=(0, "green"), retrying=(1, "orange"), failed=(2, "red"), closed=(3, "blue"))
    source_state = words(starting=(0, "blue"), running=(1, "green"), waiting=(2, "orange"), failed=(3, "red"), ended=(4, "blue"))
    rows = [
        ("Overview", False, [
            panel("stat", "Lanes", "Does every database take rows?", [(f"max by (instance, lane) (forebay_lane_state{{{LANE}}})", "{{lane}} {{instance}}")],
                  width=6, height=5, defaults={**state, **steps("green", (1, "orange"), (2, "red"))}, options={"graphMode": "none"}),
            panel("stat", "Rows committed", "How many rows a second land?", [(f"sum(rate(forebay_committed_rows_total{{{KIND}}}{RATE}))", "rows/s")],
                  unit="rps", width=6, height=5, defaults=steps("blue")),
            panel("stat", "Oldest row that waits", "How long does the oldest row wait for its commit?", [(f"max(forebay_oldest_row_seconds{{{LANE}}})", "oldest")],
                  unit="s", width=6, height=5, defaults=steps("green", (5, "orange"), (60, "red"))),
            panel("stat", "Set aside, discarded, failed in an hour", "Was any row refused, dropped or given up?", [
                (f"sum(increase(sum by (instance, lane, kind) (forebay_rejected_rows_total{{{KIND}}})[1h:30s]))", "set aside"),
                (f'sum(increase(forebay_discarded_rows_total{{{INSTANCE},kind=~"$kind"}}[1h]))', "discarded"),
                (f"sum(increase(forebay_failed_rows_total{{{KIND}}}[1h]))", "failed")],
                  width=6, height=5, defaults=steps("green", (1, "orange"))),
            panel("timeseries", "Rows a second", "What comes in, and what lands?", [
                (f"sum by (lane, kind) (rate(forebay_received_rows_total{{{KIND}}}{RATE}))", "in {{lane}} {{kind}}"),
                (f"sum by (lane, kind) (rate(forebay_committed_rows_total{{{KIND}}}{RATE}))", "landed {{lane}} {{kind}}")], unit="rps", width=12),
            panel("timeseries", "From acceptance to commit", "How long until a row is safe?", quantiles("forebay_latency_seconds", "lane", LANE), unit="s", width=12),
        ]),
        ("Queues", False, [
            panel("bargauge", "Queue fill, rows", "How near is back-pressure?", [
                (f"max by (instance, lane, kind) (forebay_buffer_size_rows{{{KIND}}} / forebay_buffer_max_size_rows{{{KIND}}})", "{{lane}} {{kind}}")],
                  unit="percentunit", defaults={"min": 0, "max": 1, **steps("green", (0.7, "orange"), (0.9, "red"))}),
            panel("timeseries", "Rows that wait", "How many rows are accepted and not settled?", [(f"forebay_buffer_size_rows{{{KIND}}}", "{{lane}} {{kind}}")]),
            panel("timeseries", "Bytes that wait", "How much memory do they take, of how much?", [
                (f"forebay_buffer_size_bytes{{{INSTANCE}}}", "held {{instance}}"), (f"forebay_buffer_max_size_bytes{{{INSTANCE}}}", "bound {{instance}}")], unit="bytes"),
            panel("timeseries", "Waits for room", "How long do producers wait when there is none?", quantiles("forebay_send_wait_seconds", "kind", f'{INSTANCE},kind=~"$kind"'), unit="s"),
            panel("timeseries", "Waits in the queue", "How long until a batch's write begins?", quantiles("forebay_queue_wait_seconds", "lane", LANE), unit="s"),
            panel("timeseries", "Discarded", "Which rows were not taken?", [
                (f'sum by (kind, reason) (rate(forebay_discarded_rows_total{{{INSTANCE},kind=~"$kind"}}{RATE}))', "{{kind}} {{reason}}")], unit="rps"),
        ]),
        ("Writer", False, [
            panel("timeseries", "Write time", "How long does a batch take?", quantiles("forebay_write_seconds", "lane", LANE), unit="s"),
            panel("timeseries", "Rows a batch", "Are batches filled?", quantiles("forebay_batch_rows", "lane", LANE)),
            panel("timeseries", "Bytes a batch", "How large are they?", quantiles("forebay_batch_bytes", "lane", LANE), unit="bytes"),
            panel("timeseries", "Batches being written", "Are all slots in use?", [
                (f"forebay_in_flight_batches{{{LANE}}}", "in flight {{lane}}"), (f"forebay_slots{{{LANE}}}", "slots {{lane}}")]),
            panel("timeseries", "Retries and errors", "What goes wrong, and is tried again?", [
                (f"sum by (lane, reason) (rate(forebay_retries_total{{{LANE}}}{RATE}))", "retry {{lane}} {{reason}}"),
                (f"sum by (lane, kind, stage) (rate(forebay_errors_total{{{LANE}}}{RATE}))", "error {{lane}} {{kind}} {{stage}}")], unit="ops"),
            panel("timeseries", "Set aside", "Which rows were refused, and why?", [
                (f"sum by (lane, kind, reason) (rate(forebay_rejected_rows_total{{{KIND}}}{RATE}))", "{{lane}} {{kind}} {{reason}}")], unit="rps"),
            panel("timeseries", "Since the last commit", "When did each database last commit?", [(f"time() - forebay_last_commit_timestamp_seconds{{{LANE}}}", "{{lane}} {{instance}}")], unit="s"),
            panel("timeseries", "Derived rows", "How many credentials came with events?", [(f"sum by (lane) (rate(forebay_derived_rows_total{{{LANE}}}{RATE}))", "{{lane}}")], unit="rps"),
            panel("timeseries", "Oldest row", "How long does the oldest row wait?", [(f"forebay_oldest_row_seconds{{{LANE}}}", "{{lane}} {{instance}}")], unit="s"),
        ]),
        ("SQLite", True, [
            panel("timeseries", "Write-ahead log", "Does a reader hold the log?", [
                (f"forebay_sqlite_wal_bytes{{{SQLITE}}}", "log {{instance}}"), (f"forebay_sqlite_wal_held_bytes{{{SQLITE}}}", "held by a reader {{instance}}")], unit="bytes"),
            panel("timeseries", "Checkpoints", "How long does moving the log into the file take?", quantiles("forebay_sqlite_checkpoint_seconds", "lane", SQLITE), unit="s"),
            panel("timeseries", "Waits for another program's lock", "Does somebody else write to the file?", quantiles("forebay_sqlite_busy_wait_seconds", "lane", SQLITE), unit="s"),
            panel("timeseries", "File", "How large is it, and how much of it is free?", [
                (f"forebay_sqlite_file_bytes{{{SQLITE}}}", "file {{instance}}"), (f"forebay_sqlite_free_bytes{{{SQLITE}}}", "free in it {{instance}}")], unit="bytes"),
            panel("timeseries", "Disk", "When is the disk full?", [
                (f"forebay_sqlite_disk_free_bytes{{{SQLITE}}}", "free {{instance}}"), (f"forebay_sqlite_disk_size_bytes{{{SQLITE}}}", "size {{instance}}")], unit="bytes"),
            panel("timeseries", "Segments", "How many parts does a query ask?", [(f"forebay_sqlite_segments{{{SQLITE}}}", "{{kind}} {{instance}}")]),
            panel("timeseries", "Work on segments", "How long do steps between batches take?", quantiles("forebay_sqlite_step_seconds", "step", SQLITE), unit="s", width=12),
            panel("timeseries", "Dropped by retention", "What went, and for which limit?", [
                (f"sum by (kind, reason) (rate(forebay_retention_rows_total{{{SQLITE}}}{RATE}))", "rows {{kind}} {{reason}}"),
                (f"sum by (kind, reason) (rate(forebay_retention_segments_total{{{SQLITE}}}{RATE}))", "segments {{kind}} {{reason}}")], unit="ops", width=12),
        ]),
        ("MySQL", True, [
            panel("timeseries", "Connections", "Is the pool used up?", [
                (f"forebay_mysql_pool_connections{{{INSTANCE}}}", "open {{instance}}"), (f"forebay_mysql_pool_idle_connections{{{INSTANCE}}}", "idle {{instance}}"),
                (f"forebay_mysql_pool_max_connections{{{INSTANCE}}}", "bound {{instance}}")]),
            panel("timeseries", "Waits for a connection", "Does work wait for the pool?", quantiles("forebay_mysql_pool_wait_seconds", "instance", INSTANCE), unit="s"),
            panel("timeseries", "Asked of the pool", "How did asking end?", [(f"sum by (outcome) (rate(forebay_mysql_pool_gets_total{{{INSTANCE}}}{RATE}))", "{{outcome}}")], unit="ops"),
            panel("timeseries", "Opened and closed", "Why are connections closed?", [
                (f"sum(rate(forebay_mysql_connections_opened_total{{{INSTANCE}}}{RATE}))", "opened"),
                (f"sum by (reason) (rate(forebay_mysql_connections_closed_total{{{INSTANCE}}}{RATE}))", "closed {{reason}}")], unit="ops", width=24),
        ]),
        ("Sources", False, [
            panel("stat", "Sources", "Does every source read?", [(f"max by (instance, source) (forebay_source_state{{{INSTANCE}}})", "{{source}}")],
                  height=5, width=24, defaults={**source_state, **steps("green")}, options={"graphMode": "none"}),
            panel("timeseries", "Rows a second", "What does each source bring?", [(f"sum by (source) (rate(forebay_source_rows_total{{{INSTANCE}}}{RATE}))", "{{source}}")], unit="rps"),
            panel("timeseries", "Behind, bytes", "How much is there that was not read yet?", [(f"forebay_source_lag_bytes{{{INSTANCE}}}", "{{source}}")], unit="bytes"),
            panel("timeseries", "Behind, time", "While there is something to read: how old is the latest row?", [(f"forebay_source_lag_seconds{{{INSTANCE}}}", "{{source}}")], unit="s"),
            panel("timeseries", "Silence", "How old is the latest row, whether there is more to read or not?", [(f"time() - forebay_source_latest_row_timestamp_seconds{{{INSTANCE}}}", "{{source}}")], unit="s"),
            panel("timeseries", "Malformed and skipped", "What could not be read, and what was known?", [
                (f"sum by (source) (rate(forebay_source_malformed_records_total{{{INSTANCE}}}{RATE}))", "malformed {{source}}"),
                (f"sum by (source) (rate(forebay_source_skipped_records_total{{{INSTANCE}}}{RATE}))", "known {{source}}")], unit="ops"),
            panel("timeseries", "Dropped by the kernel", "Does a capture keep up?", [(f"sum by (source) (rate(forebay_source_kernel_drops_total{{{INSTANCE}}}{RATE}))", "{{source}}")], unit="pps"),
            panel("timeseries", "Peers", "Who is connected?", [(f"forebay_source_peers{{{INSTANCE}}}", "{{source}}")]),
        ]),
        ("Queries", True, [
            panel("timeseries", "Questions a second", "What is asked of the databases, by readers in this process?", [
                (f"sum by (op, backend) (rate(forebay_query_seconds_count{{{INSTANCE}}}{RATE}))", "{{op}} {{backend}}")], unit="ops"),
            panel("timeseries", "Time of a question", "How long do they wait for an answer?", quantiles("forebay_query_seconds", "op", INSTANCE), unit="s"),
            panel("timeseries", "Not answered", "Which questions failed?", [
                (f"sum by (op, backend) (rate(forebay_query_errors_total{{{INSTANCE}}}{RATE}))", "{{op}} {{backend}}")], unit="ops"),
        ]),
        ("Process", True, [
            panel("timeseries", "Processor", "How much of a core does it take?", [(f'rate(process_cpu_seconds_total{{{INSTANCE},job=~"forebay.*"}}{RATE})', "{{instance}}")], unit="percentunit"),
            panel("timeseries", "Memory", "How much memory does it take?", [(f'process_resident_memory_bytes{{{INSTANCE},job=~"forebay.*"}}', "{{instance}}")], unit="bytes"),
            panel("timeseries", "Open files", "Does it run out of files?", [
                (f'process_open_fds{{{INSTANCE},job=~"forebay.*"}}', "open {{instance}}"), (f'process_max_fds{{{INSTANCE},job=~"forebay.*"}}', "bound {{instance}}")]),
            panel("stat", "Build", "Which build runs?", [(f"max by (instance, version, commit) (forebay_build_info{{{INSTANCE}}})", "{{version}} {{commit}}")],
                  width=12, height=4, options={"graphMode": "none", "textMode": "name"}, defaults=steps("blue")),
            panel("stat", "Up", "How long has it been running?", [(f'time() - process_start_time_seconds{{{INSTANCE},job=~"forebay.*"}}', "{{instance}}")], unit="s",
                  width=12, height=4, options={"graphMode": "none"}, defaults=steps("blue")),
        ]),
    ]
    variables = [
        datasource_variable("datasource", "Prometheus", "prometheus"),
        variable("instance", "Instance", "label_values(forebay_build_info, instance)"),
        variable("backend", "Backend", "label_values(forebay_lane_state, lane)"),
        variable("kind", "Kind", "label_values(forebay_committed_rows_total, kind)"),
    ]
    return dashboard("forebay-overview", "forebay: overview", "Do rows land, where do they wait, what was refused?", variables, rows)


def sql_rows(name, plugin, variable_name):
    """The panels of one database; `$__from` and `$__to` are milliseconds in every plugin."""
    source = {"type": plugin, "uid": f"${{{variable_name}}}"}
    within = "ts >= $__from * 1000000 AND ts < $__to * 1000000"
    divide = "DIV" if plugin == "mysql" else "/"
    bucket = f"ts {divide} ($__interval_ms * 1000000) * $__interval_ms {divide} 1000"
    iso = {
        "mysql": "CAST(ts DIV 1000000 AS SIGNED)",
        "grafana-postgresql-datasource": "ts / 1000000",
        "frser-sqlite-datasource": "ts / 1000000",
    }[plugin]

    def ask(sql, shape="table"):
        # This plugin takes the numbers of a time column for seconds, so a table's, which are milliseconds, stay numbers.
        if plugin == "frser-sqlite-datasource":
            return {"refId": "A", "datasource": source, "queryText": sql, "rawQueryText": sql,
                    "timeColumns": ["time"] if shape == "time_series" else [],
                    "queryType": "time series" if shape == "time_series" else "table"}
        return {"refId": "A", "datasource": source, "rawSql": sql, "rawQuery": True, "editorMode": "code", "format": shape}

    def by(column):
        return ask(f"SELECT {bucket} AS time, {column} AS metric, count(*) AS events FROM events WHERE {within} "
                   f"GROUP BY 1, 2 ORDER BY 1", "time_series")

    def top(column):
        return ask(f"SELECT {column}, count(*) AS events FROM events WHERE {within} AND {column} IS NOT NULL "
                   f"GROUP BY 1 ORDER BY 2 DESC LIMIT 20")

    stacked = {"custom": {"drawStyle": "bars", "fillOpacity": 60, "lineWidth": 0, "stacking": {"mode": "normal", "group": "A"}}}
    time_of = {"overrides": [{"matcher": {"id": "byName", "options": "time"}, "properties": [{"id": "unit", "value": "dateTimeAsIso"}]}]}
    untried = " Not tried: forebay has no PostgreSQL backend yet; the tables will be the same." if name == "PostgreSQL" else ""
    panels = [
        panel("timeseries", "Events by service", "Which service is busy, and when?", [by("service")], width=12, datasource=source, defaults=stacked),
        panel("timeseries", "Events by type", "What happens, and when?", [by("event_type")], width=12, datasource=source, defaults=stacked),
        panel("heatmap", "Map of time", "At what times do which sensors see something?", [by("sensor")], width=24, datasource=source,
              options={"calculate": False, "cellGap": 1, "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
                       "yAxis": {"axisPlacement": "left"}, "rowsFrame": {"layout": "auto"}, "tooltip": {"mode": "single"}}),
        panel("table", "Addresses", "Where does it come from?", [top("src_ip")], height=10, datasource=source),
        panel("table", "Services", "What is asked for?", [top("service")], height=10, datasource=source),
        panel("table", "Types", "What is done?", [top("event_type")], height=10, datasource=source),
        panel("table", "Newest events", "What has just happened?", [
            ask(f"SELECT {iso} AS time, sensor, service, event_type, src_ip, src_port, dst_port, session, msg "
                f"FROM events WHERE {within} ORDER BY ts DESC LIMIT 100")], width=24, height=12, datasource=source, **time_of),
    ]
    for each in panels:
        each["description"] += untried
    return (f"Events in {name}", name != "SQLite", panels)


def events():
    databases = [
        ("SQLite", "frser-sqlite-datasource", "sqlite"),
        ("MySQL", "mysql", "mysql"),
        ("PostgreSQL", "grafana-postgresql-datasource", "postgresql"),
    ]
    variables = [datasource_variable(name, label, plugin) for label, plugin, name in databases]
    return dashboard("forebay-events", "forebay: events", "What did the sensors see? Open the row of the database that you have. "
                     "PostgreSQL's is not tried: forebay does not write there yet.",
                     variables, [sql_rows(*each) for each in databases], refresh="1m")


def main():
    stale = []
    for name, made in (("forebay-overview.json", overview()), ("forebay-events.json", events())):
        text = json.dumps(made, indent=1, ensure_ascii=False) + "\n"
        path = HERE / name
        if "--check" in sys.argv[1:]:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                stale.append(name)
        else:
            path.write_text(text, encoding="utf-8")
    if stale:
        sys.exit(f"not up to date: {', '.join(stale)}; run `python3 grafana/make.py`")


if __name__ == "__main__":
    main()
