"""docs/reliability.md shows what was measured, and says in words what the measurements say."""

import tables


def test_the_page_holds_the_tables_of_the_files():
    assert tables.written("faults") == tables.fault_lines()
    assert tables.written("cluster") == tables.cluster_lines()
