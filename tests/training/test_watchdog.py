"""The watchdog's end: its threads, and what it says last."""

import subprocess
import sys

SCRIPT = '''
import time
from datetime import timedelta
from types import SimpleNamespace

from torch.distributed import TCPStore

from audiogen.training.distributed import watchdog

SLOW_SECONDS = 5


class SlowStore(TCPStore):
    """Says what it is told; answers late, from inside a call that lets other threads run."""

    def set(self, key, value):
        print(f"{key} {value}", flush=True)
        super().set(key, value)

    def multi_get(self, keys):
        try:
            self.wait(["nothing"], timedelta(seconds=SLOW_SECONDS))
        except RuntimeError:
            return super().multi_get(keys)


def joined(rank, count):
    store = SlowStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    store.set("beat/1", "0 busy")
    return store


watchdog._joined_store = joined
with watchdog.Watchdog(SimpleNamespace(process_index=0, num_processes=2)):
    watchdog.mark("step 1", limited=True)  # news, so that a beat is sent at once
    time.sleep(1)
'''


def test_a_process_that_ends_while_the_store_is_slow_ends_well() -> None:
    """Python aborts when it ends while another thread is inside such a call."""
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    said = ended.stdout.splitlines()
    assert said == ["beat/1 0 busy", "beat/0 1 moving", "beat/0 left"]
