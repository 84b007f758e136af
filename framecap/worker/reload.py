"""Another model for a worker that runs: a wish in (a signal), a loaded captioner out; who captions until then goes on.

A model that does not load is said and counted, and changes nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from framecap import telemetry
from framecap.captioning.caption import Captioner
from framecap.errors import FramecapError

logger = logging.getLogger(__name__)


class Reload:
    """`load` gives a captioner that is ready to caption, or raises a FramecapError; it runs in a thread of its own."""

    def __init__(self, load: Callable[[], Captioner]) -> None:
        self._load = load
        self._asked = False
        self._loading = False

    def ask(self) -> None:
        """From any thread or a signal handler: no locks here."""
        self._asked = True

    def poll(self, change: Callable[[Captioner], None]) -> None:
        """Begin to load, if that was asked for and nothing is being loaded; `change` gets what was loaded."""
        if self._asked and not self._loading:
            self._asked, self._loading = False, True
            threading.Thread(target=self._run, args=(change,), name="reload", daemon=True).start()

    def _run(self, change: Callable[[Captioner], None]) -> None:
        try:
            captioner = self._load()
            change(captioner)
        except FramecapError as error:
            telemetry.model_reloads.labels("failed").inc()
            logger.error("the model was not changed, the one before goes on: %s", error)  # noqa: TRY400
        except Exception:
            telemetry.model_reloads.labels("failed").inc()
            logger.exception("the model was not changed, the one before goes on")
        else:
            telemetry.model_reloads.labels("loaded").inc()
            model = captioner.model
            logger.info("the model is now %s (%s), %s", model.name, model.bundle_hash[:12], model.runtime)
        finally:
            self._loading = False
