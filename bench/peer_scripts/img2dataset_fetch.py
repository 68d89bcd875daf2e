"""Downloads a table of URLs into tars with img2dataset, without re-encoding."""

import json
import sys
import time

from img2dataset import download

if __name__ == "__main__":
    table, output, threads, processes, per_shard = sys.argv[1:]
    started = time.perf_counter()
    download(
        url_list=table,
        input_format="parquet",
        url_col="url",
        caption_col="text",
        output_folder=output,
        output_format="webdataset",
        processes_count=int(processes),
        thread_count=int(threads),
        number_sample_per_shard=int(per_shard),
        resize_mode="no",
        disable_all_reencoding=True,
        timeout=10,
        compute_hash="sha256",
        user_agent_token="bench",
        disallowed_header_directives=["noai", "noimageai", "noindex", "noimageindex"],
    )
    seconds = time.perf_counter() - started
    import glob

    count = sum(json.load(open(path))["successes"] for path in glob.glob(f"{output}/*_stats.json"))
    print(json.dumps({"count": count, "seconds": seconds}))
