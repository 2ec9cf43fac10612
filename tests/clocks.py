"""Clocks that are wrong, as a machine's may be: for processes that tests start."""

from __future__ import annotations

SHIFTED = """
import datetime, time

SHIFT_S = {seconds}
true_time, true_time_ns, true_localtime, true_gmtime = time.time, time.time_ns, time.localtime, time.gmtime
time.time = lambda: true_time() + SHIFT_S
time.time_ns = lambda: true_time_ns() + SHIFT_S * 10**9
time.localtime = lambda seconds=None: true_localtime(time.time() if seconds is None else seconds)
time.gmtime = lambda seconds=None: true_gmtime(time.time() if seconds is None else seconds)


class Shifted(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(seconds=SHIFT_S)

    @classmethod
    def utcnow(cls):
        return super().utcnow() + datetime.timedelta(seconds=SHIFT_S)

    @classmethod
    def today(cls):
        return cls.now()


datetime.datetime = Shifted
"""


def shifted(seconds: int) -> str:
    """Return Python code that has a process believe a time that is so much later than the true one.

    What the process starts believes it as well if that executes this code, too. Clocks that only measure how
    much time passes, and those of libraries that are not Python, stay right: so requests are signed with the
    true time, without which a server refuses them.
    """
    return SHIFTED.format(seconds=seconds)
