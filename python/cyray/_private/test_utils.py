"""Another name of `cyray.test_utils`."""

from cyray.test_utils import Semaphore, SignalActor, wait_for_condition

__all__ = ["Semaphore", "SignalActor", "wait_for_condition"]
