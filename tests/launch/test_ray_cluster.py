"""`launch/ray-cluster.yaml` is what `ray up` takes, as it stands and with its lines for a cloud."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
import yaml
from commands import supercm_ray
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "launch" / "ray-cluster.yaml").read_text()
SCHEMA = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())


def as_it_stands() -> Any:
    return yaml.safe_load(TEXT)


def on_a_cloud() -> Any:
    _, _, lines = TEXT.partition("above; workers then come and go with the studies.\n")
    return as_it_stands() | yaml.safe_load(re.sub(r"^# ?", "", lines, flags=re.MULTILINE))


@pytest.mark.parametrize("made", [as_it_stands, on_a_cloud])
def test_ray_takes_the_file(made: Any) -> None:
    config = made()
    jsonschema.validate(config, SCHEMA)
    validate_config(prepare_config(config))


def test_a_misspelt_key_is_refused() -> None:
    config = as_it_stands()
    config["file_mount"] = config.pop("file_mounts")
    with pytest.raises(jsonschema.ValidationError, match="file_mount"):
        jsonschema.validate(config, SCHEMA)


@pytest.mark.parametrize("key", ["head_start_ray_commands", "worker_start_ray_commands"])
def test_ray_start_knows_every_option(key: str) -> None:
    known = {option for parameter in start.params for option in parameter.opts}
    (command,) = [one for one in as_it_stands()[key] if " ray start " in one]
    given = {word.partition("=")[0] for word in shlex.split(command) if word.startswith("--")}
    assert given
    assert given <= known
    assert "RAY_AUTH_MODE=token" in command


def test_the_study_it_shows_is_there(tmp_path: Path) -> None:
    (file,) = set(re.findall(r"supercm-ray tune supercm_ray/(\S+)", TEXT))
    done = supercm_ray(tmp_path, "tune", str(ROOT / file), "--dry-run")
    assert done.returncode == 0, done.stderr


def test_results_lie_outside_the_job() -> None:
    (command,) = [one for one in as_it_stands()["head_start_ray_commands"] if " ray start " in one]
    assert "SUPERCM_RESULTS=$HOME/" in command
    assert "MLFLOW_TRACKING_URI=sqlite:///$HOME/" in command
    assert "--num-cpus=0" in command
