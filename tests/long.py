"""Which cases does `make test` leave to `make chaos`? Those of tests that try one promise on many inputs, and what is slow by nature.

A number says that every so-manieth case stays, the first among them, so that each promise is tried by both; 0, that none does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

EVERY = {
    "engine/autogenerate/test_autogenerate.py::test_change_runs_up_down_and_up_on_rows_and_leaves_no_difference": 6,
    "engine/autogenerate/test_model_changes.py::test_change_is_done_or_told": 4,
    "engine/commands/test_alembic_commands.py::test_a_command_leads_where_it_says": 2,
    "engine/commands/test_alembic_commands.py::test_a_command_that_reads_leaves_an_empty_database_empty": 3,
    "engine/commands/test_alembic_commands.py::test_a_command_that_reads_says_what_alembic_says": 2,
    "engine/commands/test_doctor.py::test_what_is_wrong_in_the_database_is_found": 2,
    "engine/commands/test_rebase.py::test_merge_of_two_branches_stops_at_the_manifest_and_is_mended": 3,
    "engine/commands/test_seal_replay.py::test_a_role_that_may_not_create_databases_still_seals": 0,
    "engine/commands/test_whatever_models_do.py::test_models_that_cannot_be_had": 3,
    "engine/diagnosis/test_messages.py::test_a_failure_says_what_happened_and_what_to_do": 5,
    "engine/execution/test_hand_commits.py::test_a_seal_finds_what_it_is": 3,
    "engine/execution/test_hand_commits.py::test_an_adopted_history_runs_from_the_middle": 2,
    "engine/execution/test_hand_commits.py::test_down_and_up_again": 3,
    "engine/execution/test_hand_commits.py::test_it_is_refused_beforehand_where_tables_are": 3,
    "engine/execution/test_hand_commits.py::test_it_runs_on_an_empty_database": 3,
    "engine/hazards/test_data_loss.py::test_what_holds_something_is_refused": 3,
    "engine/hazards/test_data_loss.py::test_what_keeps_everything_runs": 3,
    "engine/hazards/test_data_loss_kinds.py::test_exactly_what_goes_is_told": 4,
    "engine/hazards/test_data_loss_kinds.py::test_what_loses_nothing_runs": 4,
    "engine/hazards/test_narrowing.py::test_a_type_that_keeps_everything_is_no_loss": 2,
    "engine/hazards/test_narrowing.py::test_what_does_not_fit_is_counted": 2,
    "engine/hazards/test_remedies.py::test_bad_examples_are_mended": 2,
    "engine/hazards/test_remedies.py::test_what_people_write_is_mended": 2,
    "engine/hazards/test_remedies_run.py::test_advice_in_words_names_the_schema_too": 4,
    "engine/hazards/test_remedies_run.py::test_however_it_is_laid_out_the_parts_run": 3,
    "engine/hazards/test_remedies_run.py::test_what_is_in_a_schema_stays_in_it": 4,
    "engine/hazards/test_remedies_run.py::test_what_is_split_off_loads_however_the_file_says_its_name": 3,
    "engine/hazards/test_remedies_run.py::test_what_works_for_its_transaction_only_stays_with_what_it_is_for": 3,
    "engine/hazards/test_replay.py::test_what_is_done_with_rows_that_are_not_there_is_not_seen": 3,
    "engine/history/test_baseline.py::test_empty_database_begins_with_it": 3,
    "engine/history/test_env_file.py::test_drift_and_check_heed_the_filter": 2,
    "engine/history/test_env_file.py::test_the_projects_own_filter_counts": 2,
    "engine/history/test_env_file.py::test_the_version_is_kept_where_alembic_ini_says": 4,
    "engine/history/test_env_file.py::test_what_fails_before_the_engine_is_entered_is_told_with_its_line": 3,
    "engine/history/test_inherited.py::test_a_database_in_the_middle_goes_on_once_the_history_is_adopted": 0,
    "engine/history/test_inherited.py::test_whatever_a_revision_does_with_its_connection": 2,
    "engine/history/test_manifest.py::test_a_checksum_is_the_same_on_every_python": 0,
    "engine/history/test_manifest.py::test_a_manifest_that_is_wrong_costs_only_time": 3,
    "engine/history/test_naming_convention.py::test_what_is_unnamed_gets_the_name_that_plain_alembic_gives": 4,
    "engine/history/test_revision_files.py::test_a_file_may_be_called_anything": 2,
    "engine/history/test_revision_files.py::test_a_file_that_cannot_be_loaded_is_named": 3,
    "engine/history/test_revision_files.py::test_no_locale_lacks_the_words_for_a_file": 0,
    "engine/history/test_revision_files.py::test_what_is_no_revision_is_left_out": 3,
    "engine/history/test_warnings.py::test_a_warning_at_import_is_a_warning": 2,
    "engine/history/test_warnings.py::test_an_error_at_import_is_told_with_its_place": 3,
    "engine/history/test_warnings.py::test_no_filter_of_pythons_makes_a_warning_an_error": 3,
    "engine/operations/test_verbs.py::test_nothing_is_committed_when_the_migration_lock_is_lost": 2,
    "engine/operations/test_verbs.py::test_verb_writes_sql_that_can_be_run_twice": 2,
    "engine/postgres/test_second_connections.py::test_a_connection_of_a_revisions_own_disturbs_no_run": 3,
    "engine/schema/test_catalog.py::test_one_change_by_hand_is_told_as_one_change": 2,
    "engine/schema/test_foreign_objects.py::test_a_database_that_others_use_too_is_adopted": 3,
    "engine/schema/test_foreign_objects.py::test_a_revision_speaks_only_of_ours": 2,
    "engine/schema/test_foreign_objects.py::test_a_table_that_a_revision_made_is_dropped_when_no_model_knows_it_any_more": 3,
    "engine/schema/test_foreign_objects.py::test_what_another_tool_made_is_left_alone_and_told": 3,
    "engine/schema/test_foreign_objects.py::test_what_belongs_to_an_extension_is_not_even_told": 3,
    "engine/state/test_ahead.py::test_an_older_release_serves_unless_something_that_it_needs_is_gone": 3,
    "engine/state/test_changed.py::test_a_change_by_hand_is_served_while_the_models_can_work": 3,
    "engine/state/test_drift.py::test_a_change_by_hand_is_told_alone_and_mended": 2,
    "engine/state/test_states.py::test_a_state_has_one_name_and_one_outcome": 2,
    "engine/test_bad_input.py::test_a_database_that_cannot_be_used": 2,
    "engine/test_bad_input.py::test_a_role_that_may_not_read": 3,
    "engine/test_bad_input.py::test_a_version_table_that_is_not_alembics": 2,
    "engine/test_bad_input.py::test_a_version_that_nobody_knows": 2,
    "engine/test_bad_input.py::test_revision_files_that_form_no_history": 3,
    "engine/test_refusing_servers.py::test_of_several_attempts_the_telling_one_counts": 3,
    "engine/test_refusing_servers.py::test_who_says_no_is_heard_at_once_and_his_advice_told": 4,
    "engine/test_refusing_servers.py::test_who_starts_or_is_full_is_waited_for_and_said_to_be_so": 4,
    "engine/test_startup.py::test_no_command_takes_two_databases_for_one": 3,
    "house/test_documentation.py::test_each_command_of_the_readme_runs": 2,
    "house/test_package.py::test_front_door_works_with_the_package": 0,
    "web/test_board.py::test_ten_thousand_tasks_take_two_queries": 0,
    "web/test_hostile.py::test_no_request_breaks_the_application": 2,
    "web/test_schema.py::test_index_build_that_waits_shows_its_phase_and_for_whom": 0,
}


def mark(items: Iterable[pytest.Item]) -> None:
    """Give the mark `long` to what `make test` leaves out."""
    seen = Counter[str]()
    for item in items:
        test = item.nodeid.partition("[")[0].removeprefix("tests/")
        if test in EVERY:
            every = EVERY[test]
            if not every or seen[test] % every:
                item.add_marker(pytest.mark.long)
            seen[test] += 1
