"""The signal module without its enums: they alone cost 5 ms of the user's waiting time."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    try:
        import _signal as signal
    except ImportError:
        import signal

__all__ = ["reset", "signal", "signal_name"]


def signal_name(number: int) -> str:
    """Returns `SIGTERM` for 15; `signal 42` for one without a name."""
    for name, value in vars(signal).items():
        if value == number and name.startswith("SIG") and "_" not in name:
            return name
    return f"signal {number}"


def reset() -> None:
    """Gives every signal its default action and blocks none: what a new process expects."""
    for number in range(1, signal.NSIG):
        try:
            signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):  # KILL, STOP, and what libc keeps for itself
            continue
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
