"""One pass over a folder of tars by open_clip's own webdataset loader, with its own training transform and tokenizer."""

import json
import sys
import time
from argparse import Namespace

import open_clip
from open_clip_train.data import get_wds_dataset


def loader(folder, shards, count, batch, workers, size):
    transform = open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(size=size), is_train=True)
    args = Namespace(
        train_data=f"{folder}/{{00000..{shards - 1:05d}}}.tar",
        train_num_samples=count,
        train_data_upsampling_factors=None,
        dataset_resampled=False,
        seed=0,
        workers=workers,
        world_size=1,
        batch_size=batch,
    )
    return get_wds_dataset(args, transform, True, tokenizer=open_clip.get_tokenizer("ViT-B-32")).dataloader


if __name__ == "__main__":
    folder, shards, count, batch, workers, size = sys.argv[1], *map(int, sys.argv[2:7])
    made = loader(folder, shards, count, batch, workers, size)
    seen, started = 0, None
    for images, texts in made:
        if started is None:  # the workers' start does not count
            started = time.perf_counter()
            continue
        seen += len(images)
        assert texts.shape[1] == 77
    print(json.dumps({"samples": seen, "seconds": time.perf_counter() - started}))
