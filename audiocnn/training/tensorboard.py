"""Write training curves and a profile for TensorBoard."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PROFILE_FROM_STEP = 20  # of the first epoch; by then all graphs are built


@dataclass(frozen=True)
class TensorBoardLogs:
    """The folder of the logs. ``scalars`` writes the figures of every epoch, ``profile`` a profile of some steps.

    Keras' own callback needs the package tensorboard, which TensorFlow no longer installs. This one needs it only for
    viewing the files.
    """

    folder: Path
    scalars: bool = False
    profile: bool = False

    def callbacks(self, keras: Any, done: int) -> list[Any]:
        """Return callbacks for a training that has ``done`` epochs; curves of another training are removed first."""
        if self.scalars and not done:
            for part in ("train", "validation"):
                shutil.rmtree(self.folder / part, ignore_errors=True)
        found = [_Scalars(self.folder).callback(keras)] if self.scalars else []
        return [*found, *([_Profile(self.folder).callback(keras)] if self.profile and not done else [])]

    def say(self) -> str:
        """Return how to view the logs."""
        plugin = " xprof" if self.profile else ""
        return f"{self.folder}: to view it: pip install tensorboard{plugin}, then tensorboard --logdir FOLDER"


class _Scalars:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, Any] = {}

    def callback(self, keras: Any) -> Any:
        return keras.callbacks.LambdaCallback(on_epoch_end=self._write)

    def _write(self, epoch: int, logs: Mapping[str, float]) -> None:
        import tensorflow as tf

        meta = tf.compat.v1.SummaryMetadata
        kind = meta(plugin_data=meta.PluginData(plugin_name="scalars"), data_class=1)  # 1: DATA_CLASS_SCALAR
        for name, value in logs.items():
            part = "validation" if name.startswith("val_") else "train"
            if part not in self._writers:
                self._writers[part] = tf.summary.create_file_writer(str(self._folder / part))
            with self._writers[part].as_default():
                tag = f"epoch_{name.removeprefix('val_')}"
                tf.summary.write(tag, tf.constant(value, tf.float32), step=epoch, metadata=kind)
        for writer in self._writers.values():
            writer.flush()


class _Profile:
    """Profiles the first execution of steps that begins at step 20 or later, or else the last one of the epoch."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._state = "waiting"

    def callback(self, keras: Any) -> Any:
        class Callback(keras.callbacks.Callback):  # type: ignore[misc]
            def on_train_batch_begin(callback, batch: int, logs: Any = None) -> None:  # noqa: N805
                self._begin(batch, callback.params.get("steps"), callback.model.steps_per_execution)

            def on_train_batch_end(callback, batch: int, logs: Any = None) -> None:  # noqa: N805
                if self._state == "running" and batch >= self._last:
                    self._stop()

            def on_epoch_end(callback, epoch: int, logs: Any = None) -> None:  # noqa: N805
                self._stop()

        return Callback()

    def _begin(self, batch: int, n_steps: int | None, at_once: int) -> None:
        if self._state == "waiting" and batch >= min(_PROFILE_FROM_STEP, max(0, (n_steps or 0) - at_once)):
            import tensorflow as tf

            self._state, self._last = "running", batch + max(10, at_once) - 1
            tf.profiler.experimental.start(str(self._folder))

    def _stop(self) -> None:
        if self._state == "running":
            import tensorflow as tf

            tf.profiler.experimental.stop()
        self._state = "done"
