"""The embedded engine's own configuration: what a server would read from its config.xml.

What arrives is a memory limit and a folder; what leaves is a file in that folder, written before the engine opens. Its
caches and pools are sized for one machine that also does other work.
"""

import fcntl
from pathlib import Path

from kobs.errors import ConfigError

FILE_NAME = "engine.xml"

_TEMPLATE = """<clickhouse>
  <max_server_memory_usage>{max_memory_bytes}</max_server_memory_usage>
  <mark_cache_size>{mark_cache_bytes}</mark_cache_size>
  <index_mark_cache_size>{small_cache_bytes}</index_mark_cache_size>
  <primary_index_cache_size>{mark_cache_bytes}</primary_index_cache_size>
  <uncompressed_cache_size>0</uncompressed_cache_size>
  <index_uncompressed_cache_size>0</index_uncompressed_cache_size>
  <mmap_cache_size>0</mmap_cache_size>
  <compiled_expression_cache_size>{small_cache_bytes}</compiled_expression_cache_size>
  <query_condition_cache_size>{small_cache_bytes}</query_condition_cache_size>
  <memory_worker_period_ms>500</memory_worker_period_ms>
  <background_pool_size>2</background_pool_size>
  <background_merges_mutations_concurrency_ratio>2</background_merges_mutations_concurrency_ratio>
  <background_move_pool_size>1</background_move_pool_size>
  <background_fetches_pool_size>1</background_fetches_pool_size>
  <background_common_pool_size>2</background_common_pool_size>
  <background_buffer_flush_schedule_pool_size>1</background_buffer_flush_schedule_pool_size>
  <background_schedule_pool_size>4</background_schedule_pool_size>
  <background_message_broker_schedule_pool_size>1</background_message_broker_schedule_pool_size>
  <background_distributed_schedule_pool_size>1</background_distributed_schedule_pool_size>
  <merge_tree>
    <number_of_free_entries_in_pool_to_lower_max_size_of_merge>1</number_of_free_entries_in_pool_to_lower_max_size_of_merge>
    <number_of_free_entries_in_pool_to_execute_mutation>1</number_of_free_entries_in_pool_to_execute_mutation>
    <number_of_free_entries_in_pool_to_execute_optimize_entire_partition>1</number_of_free_entries_in_pool_to_execute_optimize_entire_partition>
  </merge_tree>
</clickhouse>
"""


def write_config(folder: Path, *, max_memory_bytes: int) -> Path:
    """Write the engine's configuration into `folder`, which is made where it is missing, and return its path.

    A file that is right already is left alone: the engine of another process may be reading it.

    Raises: ConfigError if the folder cannot be written.
    """
    mib = 1024 * 1024
    text = _TEMPLATE.format(
        max_memory_bytes=max_memory_bytes,
        mark_cache_bytes=max(16 * mib, max_memory_bytes // 32),
        small_cache_bytes=16 * mib,
    )
    path = folder / FILE_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        if not path.exists() or path.read_text() != text:
            draft = path.with_suffix(".draft")
            draft.write_text(text)
            draft.replace(path)
    except OSError as error:
        raise ConfigError(f"storage.url: the folder {folder} cannot be written: {error.strerror}") from error
    return path


def is_locked(folder: Path) -> bool:
    """Tell whether an engine runs on `folder`: it holds a lock on its status file.

    To be asked after opening failed. While this process itself has the folder open, the answer is true.
    """
    try:
        with (folder / "status").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
