"""The experiment's parts: scenes that are the same everywhere, AltText as noisy as stated, recipes, findings checked by hand."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from veclip_pipelines.config.recipe import Recipe, recipe_catalogue
from veclip_pipelines.config.settings import Settings
from veclip_pipelines.evaluation.benchmark_kinds import RetrievalBenchmark, ZeroShotBenchmark
from veclip_pipelines.evaluation.benchmarks import open_benchmark
from veclip_pipelines.experiment.alttexts import KINDS, alt_text
from veclip_pipelines.experiment.captioner import SHIPPED, TAUGHT
from veclip_pipelines.experiment.data import NAMES, RETRIEVAL, Sizes, write_benchmarks, write_crawl
from veclip_pipelines.experiment.design import Plan, Run, recipe_of, write_recipes
from veclip_pipelines.experiment.findings import findings, markdown, means
from veclip_pipelines.experiment.scenes import MOTIFS, SIDE, _cells, picture, scene


def test_scenes_are_the_same_everywhere() -> None:
    shown = scene(7)
    assert shown.caption() == "a striped green cross above a purple circle on a yellow ground"
    assert shown == scene(7)
    pixels = Image.open(io.BytesIO(picture(shown)))
    assert (pixels.size, pixels.format) == ((SIDE, SIDE), "JPEG")
    assert picture(scene(7)) == picture(scene(7))
    assert len({hashlib.sha256(picture(scene(number))).digest() for number in range(200)}) == 200


def test_motifs_differ_and_captions_do_not_name_them() -> None:
    assert len({_cells(motif) for motif in MOTIFS}) == len(MOTIFS) == 16
    assert not any(motif.lower() in scene(number).caption().lower() for number in range(300) for motif in MOTIFS)


def test_alttext_is_as_noisy_as_it_says() -> None:
    found = [alt_text(scene(number)) for number in range(3000)]
    counts = Counter(kind for _, kind in found)
    assert all(abs(counts[kind] / 3000 - share) < 0.03 for kind, share in KINDS.items())
    named = {kind: [text for text, other in found if other == kind] for kind in KINDS}
    assert all(any(motif in text for motif in MOTIFS) for text in named["shop_title"] + named["name_and_attribute"])
    assert not any(motif in text for text in named["unrelated"] + named["boilerplate"] for motif in MOTIFS)


def test_parts_have_none_of_anothers_pictures(tmp_path: Path) -> None:
    sizes = Sizes(first=20, more=15, of_captioner=10, benchmark=32)
    drops = write_crawl(tmp_path / "crawl", sizes)
    benchmarks = [open_benchmark(folder) for folder in write_benchmarks(tmp_path / "benchmarks", sizes)]
    retrieval, names = benchmarks
    assert isinstance(retrieval, RetrievalBenchmark)
    assert isinstance(names, ZeroShotBenchmark)
    assert len({text for texts in retrieval.captions for text in texts}) == len(retrieval.pictures) == 32
    assert names.classes == tuple(sorted(MOTIFS))
    import tarfile

    seen: list[str] = []
    for drop in drops:
        for shard in sorted(drop.glob("*.tar")):
            with tarfile.open(shard) as tar:
                seen += [hashlib.sha256(tar.extractfile(m).read()).hexdigest() for m in tar if m.name.endswith(".jpg")]  # type: ignore[union-attr]
    everything = seen + [sha for item in benchmarks for sha in item.fingerprints(tmp_path).sha256]
    assert len(seen) == 45
    assert len(set(everything)) == len(everything)
    assert [path.name for path in write_crawl(tmp_path / "crawl", sizes)] == [drop.name for drop in drops]


def test_each_run_is_a_recipe(settings: Settings) -> None:
    plan = Plan()
    names = write_recipes(settings.home, plan)
    assert len(names) == len(set(names)) == 3 * (4 * 2 + 3)
    catalogue = recipe_catalogue(settings)
    recipes = {name: catalogue.load(name) for name in names}
    assert recipes["scenes-mixed-10000-s1"].training.seed == 1
    assert recipes["scenes-longer-10000-s0"].training.steps == 2 * recipes["scenes-alttext-10000-s0"].training.steps
    assert recipes["scenes-taught-10000-s0"].datasets[0].crawl_partitions == ("scenes-of-captioner",)
    assert [text.shuffled for text in recipes["scenes-shuffled-10000-s0"].texts] == [False, True]
    before = {path: path.stat().st_mtime_ns for path in (settings.home / "recipes").iterdir()}
    write_recipes(settings.home, plan)
    assert before == {path: path.stat().st_mtime_ns for path in (settings.home / "recipes").iterdir()}


def rows(arm: str, value: float, plan: Plan, spread: float = 0.0) -> list[dict[str, object]]:
    return [
        {"recipe": Run(arm, "10000", seed).recipe, "benchmark": benchmark, "metric": metric, "value": value + spread * (seed - 1),
         "low": value - 0.01, "high": value + 0.01}
        for seed in plan.seeds
        for benchmark, metric in ((RETRIEVAL, "image_to_text_recall@1"), (NAMES, "acc@1"))
    ]  # fmt: skip


def test_findings_by_hand() -> None:
    plan = Plan(sizes=("10000",))
    scores = (
        rows("alttext", 0.20, plan)
        + rows("vecap", 0.40, plan, 0.02)
        + rows("mixed", 0.205, plan)
        + rows("concept", 0.3, plan)
    )
    found = means(scores, plan.runs())
    vecap = found["vecap", "10000"]["I2T R@1"]
    assert (vecap.value, vecap.runs) == (pytest.approx(40.0), 3)
    # Between seeds: variance 4 over 3 runs; within: an interval of one point to each side.
    assert vecap.half == pytest.approx(1.96 * (4 / 3 + (1 / 1.96) ** 2) ** 0.5)
    verdicts = {item.claim: item.verdict for item in findings(found, plan)}
    assert verdicts["VeCap beats AltText in retrieval, picture to text (10000 pictures)"] == "holds"
    assert verdicts["the mix beats AltText in retrieval, picture to text (10000 pictures)"] == "cannot be told"
    assert verdicts["names are known from AltText, and not from concept captions (10000 pictures)"] == "does not hold"
    assert "| vecap | 10000 | 40.0 ± " in markdown(found, findings(found, plan))
    assert not any("control" in claim for claim in verdicts)


def test_recipes_fit_the_schema() -> None:
    for run in Plan.small().runs():
        Recipe.model_validate(recipe_of(run, Plan.small()))


def test_the_captioner_that_ships_says_what_is_there() -> None:
    """On scenes that it was not taught on: most shapes, colours and grounds are right."""
    from veclip_pipelines.engines.base import PictureBatch
    from veclip_pipelines.engines.identity import EngineSpec
    from veclip_pipelines.engines.loading import answers
    from veclip_pipelines.engines.profiles import profile_catalogue
    from veclip_pipelines.engines.prompts import prompt_catalogue
    from veclip_pipelines.media.pictures import decode

    settings = Settings.from_env({})
    profile = profile_catalogue(settings).load("scenes-captioner").model_copy(update={"dtype": "float32"})
    spec = EngineSpec("e", profile, prompt_catalogue(settings).load("scene"), SHIPPED, "", "1")
    numbers = [TAUGHT.stop + 1000 + number for number in range(40)]
    batch = PictureBatch(tuple(decode(picture(scene(n))) for n in numbers), ({},) * 40, tuple(map(str, numbers)))
    (_, found), = answers(spec, [batch], lambda: None)  # fmt: skip
    right = [sum(word in answer.text for word in (s.first.colour, s.first.shape, s.second.colour, s.second.shape, s.ground))
             for answer, s in zip(found, map(scene, numbers), strict=True)]  # fmt: skip
    assert sum(right) / (5 * 40) > 0.85
    assert all(answer.finish_reason == "stop" for answer in found)
    size = sum(path.stat().st_size for path in SHIPPED.iterdir())
    assert size < 8 * 2**20
    assert json.loads((SHIPPED / "config.json").read_text())["model_type"] == "llava"
