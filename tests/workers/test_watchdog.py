"""Who is at work and stands still is noticed; who rests, or goes on, is let be."""

import threading
import time

from workers.watchdog import Watchdog


def test_one_that_stands_still_is_noticed_though_another_goes_on() -> None:
    wedged, stop = threading.Event(), threading.Event()
    watchdog = Watchdog("model", 0.3, wedged.set)

    def work() -> None:
        while not stop.wait(0.02):
            watchdog.beat("lively")

    thread = threading.Thread(target=work)
    thread.start()
    assert not wedged.wait(0.8), "who goes on is not wedged"
    watchdog.beat("still")
    assert wedged.wait(10)
    stop.set()
    thread.join()


def test_who_rests_is_not_wedged_and_its_thread_goes() -> None:
    wedged = threading.Event()
    watchdog = Watchdog("resting", 0.2, wedged.set)
    watchdog.beat()
    assert any(t.name == "watchdog-resting" and t.daemon for t in threading.enumerate())
    watchdog.rest()
    watchdog.rest()
    assert not wedged.wait(0.5)
    for _ in range(100):
        if all(t.name != "watchdog-resting" for t in threading.enumerate()):
            break
        time.sleep(0.05)
    else:
        raise AssertionError("the thread is still there")
    watchdog.beat()
    assert wedged.wait(10), "it begins again with the work"
