"""The paper's claim measured on a generated crawl: scenes, a captioner for them, runs, and what came of them."""
