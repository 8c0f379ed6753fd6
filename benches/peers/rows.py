"""The rows of `benches/sample/mod.rs`, once more: the same seed gives the same ones."""

import bisect
import itertools
import json

SERVICES = [("ssh", "login.failed", 22), ("ssh", "command", 22), ("http", "request", 80),
            ("telnet", "login.failed", 23), ("smb", "connect", 445), ("redis", "command", 6379)]
USERS = ["root", "admin", "ubuntu", "test", "oracle", "postgres", "pi", "git"]


class Random:
    """SplitMix64, as in `benches/sample/mod.rs`."""

    MASK = (1 << 64) - 1

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & self.MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & self.MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & self.MASK
        return z ^ (z >> 31)

    def below(self, bound):
        return self.next() % bound


def lines(count):
    cumulated = list(itertools.accumulate(rank ** -1.1 for rank in range(1, 20_001)))
    random = Random(7)
    for number in range(count):
        rank = bisect.bisect_left(cumulated, (random.next() >> 11) / (1 << 53) * cumulated[-1])
        address = (rank * 2654435761 & 0xFFFFFFFF) | 0x01000000
        src = ".".join(str(address >> shift & 255) for shift in (24, 16, 8, 0))
        sensor_number = random.below(12)
        service, event_type, dst_port = SERVICES[random.below(6)]
        user = USERS[random.below(8)]
        src_port = 1024 + random.below(60_000)
        session = f"{random.next() >> 16:012x}"
        secret = f"{random.next() >> (16 + random.below(32)):x}"
        sensor, dst = f"sensor-{sensor_number:02}", f"10.20.0.{sensor_number + 1}"
        ts = 1_760_000_000_000_000_000 + number * 1_000_000 + random.below(20_000_000)
        fields = json.dumps({"username": user, "password": secret, "client": "SSH-2.0-libssh_0.9.6",
                             "attempt": random.below(30)}, separators=(",", ":"))
        raw = (f"<134>1 {ts} {sensor} {service} {session} {event_type} - user={user} secret={secret} "
               f"src={src}:{src_port} dst={dst}:{dst_port} client=SSH-2.0-libssh_0.9.6 outcome=refused")
        yield dict(ts=ts, sensor=sensor, service=service, event_type=event_type, src_ip=src, src_port=src_port,
                   dst_ip=dst, dst_port=dst_port, proto="tcp", session=session,
                   msg=f"{event_type} for {user} from {src} on {service}", fields=fields, raw=raw)
