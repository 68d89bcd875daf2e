"""CLIP_benchmark's own command on a benchmark in its webdataset layout, with an open_clip config of ours."""

import json
import sys
import time
from pathlib import Path

import open_clip
from clip_benchmark import cli

if __name__ == "__main__":
    model_folder, root, task, output, workers = sys.argv[1:6]
    folder = Path(model_folder)
    config = json.loads((folder / "open_clip_config.json").read_text("utf-8"))["model_cfg"]
    (folder / "veclip-bench.json").write_text(json.dumps(config), "utf-8")
    open_clip.add_model_config(folder / "veclip-bench.json")
    recall = ["--recall_k", "1", "5", "10"] if task == "zeroshot_retrieval" else []
    sys.argv = [
        "clip_benchmark", "eval", "--dataset", f"wds/{Path(root).name}", "--dataset_root", root, "--task", task, "--model", "veclip-bench",
        "--pretrained", str(folder / "open_clip_model.safetensors"), "--no_amp", "--num_workers", workers, "--output", output, "--quiet",
        *recall,
    ]  # fmt: skip
    started = time.perf_counter()
    cli.main()
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "metrics": json.loads(Path(output).read_text("utf-8"))["metrics"]}))
