"""
The features: every one that there is, what it does, whether it works, and the tests that prove it.

This is the one table of them.  C{docs/features.rst} is made from it when the documents are built, and the build fails
on whatever L{mistakes} finds: a feature that is missing, one that is not known, one without a test, and a test that is
not there any more.

S rows are what the seed shows of C{SSLNetVConnection} and what is round it, N rows are the net core below, P rows the
shape that it has in Twisted.  O rows are oddities: places where Traffic Server does what nobody would ask for.  The
test of each oddity stands in L{tests.test_oddities} and is found by its name: C{test_o17_...} is that of O17.

A test is named C{module.Class.test}, without the C{test_} of its module; those of the program in C{tests/integration}
are C{integration.module.Class.test}, and Twisted's own, run over our transports, C{conformance.module.Class.test}.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from tests.integration.gold import GOLD

TESTS: Final = Path(__file__).resolve().parent

WORKS: Final = "works"
CANNOT: Final = "cannot"
NOT_YET: Final = "not yet"
STATES: Final = (WORKS, CANNOT, NOT_YET)


@dataclass(frozen=True)
class Feature:
    """
    One feature.

    @ivar id: its number: a letter and digits.
    @ivar text: what it does.
    @ivar tests: those that prove it.
    @ivar state: one of L{STATES}.
    @ivar note: of one that cannot be had: which call is missing, and what to do instead; of one that is not there yet:
        what is missing; else what is different here, if anything is.
    """

    id: str
    text: str
    tests: tuple[str, ...] = ()
    state: str = WORKS
    note: str = ""


@dataclass(frozen=True)
class Section:
    """
    Features that belong together.

    @ivar span: the first and the last of its numbers, all of which are there: C{"S001-S037"}.
    """

    title: str
    span: str
    features: tuple[Feature, ...]


def works(number: str, text: str, *tests: str, note: str = "") -> Feature:
    """A feature that is there."""
    return Feature(number, text, tests, WORKS, note)


def cannot(number: str, text: str, *tests: str, missing: str, instead: str) -> Feature:
    """
    A feature that pyOpenSSL does not let us have.

    @param missing: the call that it does not have.
    @param instead: what a user does.
    """
    return Feature(
        number, text, tests, CANNOT, f"Missing: {missing}. Instead: {instead}" if missing and instead else ""
    )


def not_yet(number: str, text: str, *tests: str, note: str) -> Feature:
    """A feature that is not there; C{tests} may prove a part of it."""
    return Feature(number, text, tests, NOT_YET, note)


def oddity(number: str, theirs: str, ours: str, *tests: str) -> Feature:
    """
    An oddity; its test in L{tests.test_oddities} need not be named.

    @param theirs: what Traffic Server does, or did.
    @param ours: what is done here.
    """
    return Feature(number, theirs, (*named_after(number), *tests), WORKS, ours)


# What there is.


@cache
def methods(module: str) -> dict[str, str]:
    """The tests of a module: C{Class.test} and the words of each; empty when there is no such module."""
    folder, _, name = module.rpartition(".")
    path = TESTS / folder / f"test_{name}.py"
    if not path.exists():
        return {}
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            for child in node.body:
                if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and child.name.startswith("test"):
                    found[f"{node.name}.{child.name}"] = " ".join((ast.get_docstring(child) or "").split())
    return found


def module_of(test: str) -> tuple[str, str]:
    """C{"sslvc"} and C{"ObjectTests.test_fresh"} for C{"sslvc.ObjectTests.test_fresh"}."""
    module, cls, name = test.rsplit(".", 2)
    return module, f"{cls}.{name}"


def named_after(number: str) -> tuple[str, ...]:
    """The tests of L{tests.test_oddities} whose name says C{number}."""
    return tuple(
        f"oddities.{name}"
        for name in methods("oddities")
        if name.partition(".")[2].startswith(f"test_{number.lower()}_")
    )


def numbers(span: str) -> list[str]:
    """All numbers of a section."""
    first, last = span.split("-")
    letter, width = first[0], len(first) - 1
    width = width if first[1] == "0" else 1
    return [f"{letter}{number:0{width}}" for number in range(int(first[1:]), int(last[1:]) + 1)]


def every() -> Iterator[Feature]:
    """All features, in order."""
    for section in SECTIONS:
        yield from section.features


def mistakes() -> list[str]:
    """What is wrong with the table, one line for each mistake."""
    found = []
    for section in SECTIONS:
        there = [feature.id for feature in section.features]
        wanted = numbers(section.span)
        found += [f"{number}: it is not in the table" for number in wanted if number not in there]
        found += [
            f"{number}: there is no such feature in {section.title!r}" for number in there if number not in wanted
        ]
        found += [f"{number}: it is in the table twice" for number in sorted(set(there)) if there.count(number) > 1]
    for feature in every():
        if not feature.text:
            found.append(f"{feature.id}: it says nothing")
        if feature.state == WORKS and not feature.tests:
            found.append(f"{feature.id}: no test proves it")
        if feature.state != WORKS and not feature.note:
            found.append(f"{feature.id}: it does not say why")
        if feature.id.startswith("O") and feature.state == WORKS and not named_after(feature.id):
            found.append(f"{feature.id}: no test has its name")
        found += [f"{feature.id}: there is no test {test}" for test in missing(feature.tests)]
        found += [f"{feature.id}: {test} is there twice" for test in feature.tests if feature.tests.count(test) > 1]
    for number in {number for name in methods("oddities") for number in re.findall(r"\.test_(o\d+)_", name)}:
        if number.upper() not in numbers(SECTIONS[-1].span):
            found.append(f"{number.upper()}: there is no such oddity, but a test of its name")
    for gold in GOLD:
        found += [f"{gold.name}: there is no test {test}" for test in missing(gold_tests(gold.tests))]
    return found


def missing(tests: tuple[str, ...]) -> list[str]:
    """Those of C{tests} that are not there."""
    found = []
    for test in tests:
        if test.count(".") < 2:
            found.append(test)
            continue
        module, name = module_of(test)
        if name not in methods(module):
            found.append(test)
    return found


def gold_tests(tests: tuple[str, ...]) -> tuple[str, ...]:
    """Tests as L{tests.integration.gold} names them, as they are named here."""
    return tuple(f"integration.{test.removeprefix('test_')}" for test in tests)


SECTIONS: Final = (
    Section(
        "The connection: what it is and what can be asked of it",
        "S001-S037",
        (
            works(
                "S001",
                "A connection over TLS is used like one over TCP: the same interface, the same events.",
                "sslvc.ObjectTests.test_interfaces",
                "sslvc_facts.OneOfTwoTests.test_one_echo_for_both",
            ),
            works(
                "S002",
                "Three roles for a reactor: who moves the bytes (NetHandler), who looks for those that are late "
                "(InactivityCop), who makes connections (SSLNetProcessor). Each can be another object.",
                "roles.RoleTests.test_three_objects",
                "roles.RoleTests.test_each_can_be_another",
            ),
            works("S003", "A fresh connection: every field has its first value.", "sslvc.ObjectTests.test_fresh"),
            works(
                "S004",
                "A freed connection: TLS, buffers, hooks and protocols are let go, it is on no list, and nothing "
                "knows it.",
                "sslvc.ObjectTests.test_freed",
                "leaks.LeakTests.test_nothing_grows",
                "sslvc_data.HalfCloseTests.test_collected",
                "sslvc_handshake.ServerHandshakeTests.test_collected",
            ),
            works(
                "S005",
                "A connection cannot be copied.",
                "sslvc.ObjectTests.test_interfaces",
                "unixvc.FactTests.test_not_copied",
            ),
            works(
                "S006",
                "Connections are made by the processor, of the kind that the port is for, and nothing of another's is "
                "in them.",
                "ssl_processor.ProcessorTests.test_interfaces",
                "sslvc_facts.OneOfTwoTests.test_allocated_afresh",
                note="There is no pool of connections: Python's own allocator is one.",
            ),
            works(
                "S007",
                "Accepting: the connection is watched, its first read is tried at once, its user is told once.",
                "accept.AcceptTests.test_accepted",
                "accept.AcceptTests.test_first_bytes",
                "ssl_processor.ProcessorTests.test_accepted_with_its_hello",
            ),
            works(
                "S008",
                "Bytes are moved when they are wanted and the kernel may have them, and only then.",
                "handler.TurnTests.test_only_enabled_and_triggered",
                "sslvc.CornerTests.test_one_piece_one_pass",
                "unixvc.ReadTests.test_bytes_that_came_before",
            ),
            works(
                "S009",
                "Timeouts come from the cop, by the connection's own hand, to who uses it.",
                "sslvc_data.ReadTests.test_timeouts",
                "cop.CopTests.test_reader_then_writer",
            ),
            works(
                "S010",
                "Connecting: told as soon as it was begun, or why it could not be.",
                "processor.ProcessorTests.test_connect_re",
                "processor.ProcessorTests.test_cannot_be_begun",
                "processor.ProcessorTests.test_connect_re_refused",
                "ssl_processor.ProcessorTests.test_connect",
            ),
            works(
                "S011",
                "Reads, writes, shutdown and timeouts are the same code over TLS.",
                "sslvc_facts.OneOfTwoTests.test_requests_are_inherited",
                "sslvc.ObjectTests.test_by_number",
                "life.LifeTests.test_any_order",
            ),
            works(
                "S012",
                "A close says close_notify, then ends TCP; none to a peer that has left, none after a handshake that "
                "was not done, none in a blind tunnel.",
                "sslvc_data.HalfCloseTests.test_close",
                "sslvc_data.HalfCloseTests.test_close_after_the_peers_fin",
                "sslvc.CornerTests.test_goodbye_after_goodbye_and_end",
                "sslvc_handshake.ServerHandshakeTests.test_closed_before_the_handshake",
                "sslvc_facts.OneOfTwoTests.test_close_of_a_tunnel",
            ),
            works(
                "S013",
                "One direction can be ended: the peer sees close_notify and can still send.",
                "sslvc_data.HalfCloseTests.test_we_end",
                "sslvc_data.HalfCloseTests.test_both",
                "sslvc_data.ReadTests.test_shutdown_read",
            ),
            works(
                "S014",
                "Inactivity and active timeouts over TLS.",
                "sslvc_data.ReadTests.test_timeouts",
                "sslvc_facts.OneOfTwoTests.test_active_timeout",
                "sslvc.CornerTests.test_handshake_is_no_silence",
                "sslvc.CornerTests.test_slow_peer_is_no_silent_one",
            ),
            works(
                "S015",
                "The active and the keep-alive queue, over TLS.",
                "sslvc_facts.OneOfTwoTests.test_queues",
            ),
            works("S016", "enable_read() lets both directions go on.", "sslvc_facts.FactTests.test_enable_read"),
            works(
                "S017",
                "Is the handshake done? A plain connection and a tunnel say yes.",
                "sslvc_facts.FactTests.test_before_in_between_and_after",
                "sslvc_facts.FactTests.test_of_a_tunnel",
                "peerfacts.FactsTests.test_handshake_left_out",
                "peerfacts.FactsTests.test_too_late",
                note="Saying that it is done, before it has begun, makes the connection a blind tunnel.",
            ),
            works(
                "S018",
                "Who began? is_client is true when we connected.",
                "oddities.DataOddityTests.test_o43_is_client_is_true_when_we_connected",
            ),
            works(
                "S019",
                "Was the session resumed?",
                "sslvc_handshake.ServerHandshakeTests.test_resumption",
                "sessions.ReuseTests.test_second_connection",
                "endpoints.SessionTests.test_the_same_settings",
                "integration.edge.TLSTests.test_sessions_resume",
                note="Told by the C functions that pyOpenSSL itself uses; it has no public method for it.",
            ),
            works(
                "S020",
                "A client's wish to renegotiate ends the connection (S063), which can be asked whether it was that.",
                "peerfacts.FactsTests.test_renegotiation",
                "attacks.RenegotiationTests.test_refused",
            ),
            works(
                "S021",
                "Whether the port passes on what is not TLS is said of each of its connections.",
                "nextprotocol_accept.NextProtocolAcceptTests.test_first_byte",
                "nextprotocol_accept.NextProtocolAcceptTests.test_not_both",
            ),
            works(
                "S022",
                "The acceptor of the port is kept with its connections.",
                "nextprotocol_accept.NextProtocolAcceptTests.test_dispatch",
                "sslvc.ObjectTests.test_freed",
            ),
            works(
                "S023",
                "What came along with the handshake is the session's, once.",
                "sslvc_handshake.ServerHandshakeTests.test_glued_first_request",
                "sslvc_handshake.ServerHandshakeTests.test_glued_first_request_taken_late",
                "nextprotocol_accept.NextProtocolAcceptTests.test_request_with_the_handshake",
                note="By its first read; there is no buffer that has to be asked for.",
            ),
            works(
                "S024",
                "Has the peer's TLS stream ended? By close_notify, or cut off, of which clean_shutdown tells.",
                "peerfacts.FactsTests.test_ends",
                "peerfacts.FactsTests.test_our_own_end",
                "sslvc_data.ReadTests.test_every_cut",
                "sslvc_data.ReadTests.test_end_without_goodbye",
            ),
            works(
                "S025",
                "Is this connection traced? A hook may switch it on and off.",
                "trace.TraceTests.test_hook_has_the_last_word",
                "trace.TraceTests.test_on_and_off",
                "trace.TraceTests.test_kinds",
            ),
            works(
                "S026",
                "Which connections are traced: by name, by address, and by percentage of those.",
                "trace.WireTraceTests.test_conditions",
                "trace.WireTraceTests.test_percentage",
                "trace.TraceTests.test_not_wanted",
                "trace.TraceTests.test_wanted",
            ),
            works(
                "S027",
                "The version of TLS, or None.",
                "sslvc_handshake.ServerHandshakeTests.test_every_cut",
                "sslvc_facts.FactTests.test_before_in_between_and_after",
                "sslvc_facts.FactTests.test_of_a_tunnel",
            ),
            works(
                "S028",
                "The cipher, or None.",
                "sslvc_handshake.ServerHandshakeTests.test_every_cut",
                "sslvc_facts.FactTests.test_of_a_tunnel",
            ),
            works(
                "S029",
                "Who speaks what ALPN agreed on, or None.",
                "sslvc_handshake.ServerHandshakeTests.test_alpn",
                "sslvc_handshake.ServerHandshakeTests.test_alpn_without",
            ),
            works(
                "S030",
                "The certificate can be exchanged until OpenSSL speaks.",
                "sslvc_handshake.ServerHandshakeTests.test_context_set",
            ),
            works(
                "S031",
                "An established connection moves to another object, with all that it has; the old one is silent.",
                "migration.PlainTests.test_request_on_the_new_one",
                "migration.TLSTests.test_idle_outbound",
                "migration.TLSTests.test_half_a_record",
                "migration.TLSTests.test_what_the_kernel_did_not_take",
                "migration.TLSTests.test_session_of_somebody_else",
            ),
            works(
                "S032",
                "TLS itself, as vc.engine: from the first step of the handshake to the end, and never in a tunnel.",
                "sslvc_facts.FactTests.test_before_in_between_and_after",
                "sslvc_facts.FactTests.test_of_a_tunnel",
            ),
            works(
                "S033",
                "When the handshake began, and how long it took.",
                "sslvc_facts.FactTests.test_when_it_began",
            ),
            works(
                "S034",
                "What was sent, and when, for the size of records (S101 to S104).",
                "recordsize.DynamicRecordSizerTests.test_small_first",
                "recordsize.DynamicRecordSizerTests.test_small_again_after_a_pause",
                "recordsize.RecordSizerTests.test_no_dict",
            ),
            works(
                "S035",
                "All bytes before the handshake are kept as they came, until nobody can want them any more.",
                "sslvc_facts.FactTests.test_the_hello_is_kept_for_who_may_need_it",
                "clienthello.RealHelloTests.test_bytes_after_the_hello_are_kept",
            ),
            works(
                "S036",
                "The phases of a connection are one small table; what is not in it is a bug and raises.",
                "phases.PhasesTests.test_every_phase_with_every_move",
                "phases.PhasesTests.test_no_way_around_the_handshake",
                "hooks.HookWalkTests.test_go_on_too_early",
            ),
            works(
                "S037",
                "Protocols, their endpoint, end and acceptor are fields with a first value, and are let go.",
                "sslvc.ObjectTests.test_fresh",
                "sslvc.ObjectTests.test_freed",
            ),
        ),
    ),
    Section(
        "The handshake",
        "S040-S066",
        (
            works(
                "S040",
                "As server: the clock runs from the accept on, TLS is made when the first message is there.",
                "sslvc_facts.FactTests.test_when_it_began",
                "sslvc_facts.FactTests.test_before_in_between_and_after",
            ),
            works(
                "S041",
                "As client: the origin sees our hello, and the name that we ask for.",
                "sslvc_handshake.ClientHandshakeTests.test_good",
                "ssl_processor.ProcessorTests.test_address_is_no_name",
            ),
            works(
                "S042",
                "What makes no sense is the mistake of who asked for it, and raises.",
                "phases.PhasesTests.test_every_phase_with_every_move",
                "unixvc.FactTests.test_do_io",
            ),
            works(
                "S043",
                "As server, each answer of TLS has one consequence.",
                "sslvc_facts.EngineAnswerTests.test_done",
                "sslvc_facts.EngineAnswerTests.test_wants_more",
                "sslvc_facts.EngineAnswerTests.test_failed",
                "sslvc_facts.EngineAnswerTests.test_refused_meanwhile",
                "sslvc_facts.EngineAnswerTests.test_left",
            ),
            works(
                "S044",
                "As client too.",
                "sslvc_facts.EngineAnswerTests.test_done",
                "sslvc_facts.EngineAnswerTests.test_wants_more",
                "sslvc_facts.EngineAnswerTests.test_failed",
                "sslvc_facts.EngineAnswerTests.test_not_trusted",
                "sslvc_facts.EngineAnswerTests.test_left",
            ),
            works(
                "S045",
                "What can be read drives it: a client that comes byte by byte is served.",
                "sslvc_handshake.ServerHandshakeTests.test_every_cut",
                "integration.bad_input.ClientTests.test_a_hello_a_byte_at_a_time",
            ),
            works(
                "S046",
                "So does room to write; what a user writes too early leaves encrypted, afterwards.",
                "sslvc_handshake.ServerHandshakeTests.test_write_before_the_handshake",
                "sslvc_handshake.ClientHandshakeTests.test_write_before_the_handshake",
            ),
            works(
                "S047",
                "While the peer is waited for nothing is done at all.",
                "sslvc_facts.EngineAnswerTests.test_wants_more",
            ),
            works(
                "S048",
                "A kernel that takes our messages a few at a time holds it up, and no more.",
                "sslvc_handshake.ServerHandshakeTests.test_server_speaks_into_a_full_pipe",
                "sslvc.CornerTests.test_last_messages_go_out_while_parked",
            ),
            works(
                "S049",
                "A failure is ERROR, once, with a number and words; the peer gets its alert.",
                "sslvc_facts.EngineAnswerTests.test_failed",
                "attacks.GarbageTests.test_plain_http",
                "integration.bad_input.ClientTests.test_http_on_a_tls_port",
            ),
            works(
                "S050",
                "A peer that leaves in the middle is ERROR too, whenever it does.",
                "sslvc_handshake.ServerHandshakeTests.test_peer_leaves_in_every_phase",
                "sslvc_facts.EngineAnswerTests.test_left",
                "sslvc.CornerTests.test_half_a_hello_and_the_end_at_once",
                "sslvc.CornerTests.test_end_that_the_kernel_tells_with_the_bytes",
            ),
            works(
                "S051",
                "Who waits with a read of zero bytes is told READ_COMPLETE, once.",
                "sslvc_handshake.ServerHandshakeTests.test_every_cut",
                "oddities.HandshakeOddityTests.test_o1_only_a_read_of_zero_bytes_waits_for_the_handshake",
            ),
            works(
                "S052",
                "Who asked for bytes is told nothing of it: the first event has data.",
                "sslvc_handshake.ServerHandshakeTests.test_read_of_some_bytes",
            ),
            works(
                "S053",
                "A request glued to the last message is served, though the client then stays silent.",
                "sslvc_handshake.ServerHandshakeTests.test_glued_first_request",
                "oddities.HandshakeOddityTests.test_o9_what_comes_with_the_last_message_is_all_told",
            ),
            works(
                "S054",
                "tr-pass: what does not begin like TLS is passed on, its first byte included.",
                "nextprotocol_accept.NextProtocolAcceptTests.test_first_byte",
                "integration.first_byte.FirstByteTests.test_what_is_not_tls_is_passed_on",
            ),
            works(
                "S055",
                "A certificate with action = tunnel: who comes to its address is passed on before a byte is read.",
                "certtunnels.CertificateTunnelsTests.test_addresses",
                "integration.first_byte.CertificateTunnelTests.test_by_address",
            ),
            works(
                "S056",
                "A deadline, also for who is silent or waits for a hook; 0 is none.",
                "sslvc_handshake.ServerHandshakeTests.test_silent_peer",
                "sslvc_handshake.ServerHandshakeTests.test_hook_is_late",
                "sslvc_handshake.ServerHandshakeTests.test_no_deadline",
                "integration.bad_input.DeadlineTests.test_a_silent_client",
                "integration.edge.TLSTests.test_the_handshake_deadline_is_not_renewed",
            ),
            works(
                "S057",
                "Finished by the writing direction: who waits with a read is told all the same.",
                "oddities.HandshakeOddityTests.test_o17_the_handshake_is_done_for_both_directions",
            ),
            works(
                "S058",
                "What is buffered when it is done comes before what the kernel has next; the buffers go.",
                "sslvc_facts.FactTests.test_a_lot_behind_the_last_message",
            ),
            works(
                "S059",
                "A hello may be of 64 KiB, in any number of segments and records.",
                "clienthello.LimitTests.test_twelve_kibibytes",
                "clienthello.CutTests.test_random_cuts",
                "clienthello.CutTests.test_records_of_one_byte",
                "integration.bad_input.ClientTests.test_a_hello_in_records_of_one_byte",
                "integration.bad_input.ClientTests.test_a_hello_of_more_than_64_kib",
            ),
            works(
                "S060",
                "Raw bytes before the handshake: some, an end, or an error of the kernel.",
                "sslvc_handshake.ServerHandshakeTests.test_peer_leaves_in_every_phase",
                "sslvc.CornerTests.test_kernel_fails_in_the_handshake",
                "sslvc.CornerTests.test_accepted_before_a_byte",
            ),
            works(
                "S061",
                "Their buffer is made when it is needed, and let go once.",
                "clienthello.LimitTests.test_small_objects",
                "clienthello.LimitTests.test_no_cycles",
                "sslvc_facts.FactTests.test_the_hello_is_kept_for_who_may_need_it",
            ),
            works(
                "S062",
                "OpenSSL's call-backs find their connection, among a hundred at once.",
                "sslvc.ObjectTests.test_hundred_at_once",
                "engine.FactoryTests.test_owner",
            ),
            works(
                "S063",
                "A TLS 1.2 client that begins anew is refused: no_renegotiation, ERROR, and the next one is served.",
                "attacks.RenegotiationTests.test_refused",
                "attacks.RenegotiationTests.test_refused_behind_data_though_silent",
                "integration.bad_input.ClientTests.test_renegotiation",
                "integration.edge.TLSTests.test_renegotiation_is_refused",
            ),
            works(
                "S064",
                "Where it is allowed it is answered at once, though the user writes nothing.",
                "attacks.RenegotiationTests.test_allowed",
                "resumption.RenegotiationTests.test_flood",
                "integration.tls_settings.NameTests.test_renegotiation_is_answered",
            ),
            works(
                "S065",
                "While a hook has the connection nothing is scheduled.",
                "sslvc_handshake.HookTests.test_parked",
                "sslvc_handshake.HookTests.test_bytes_that_come_while_parked",
            ),
            works(
                "S066",
                "A user who puts another in his place within a call-back is obeyed from the next event on.",
                "sslvc_data.ReadTests.test_request_in_the_place_of_another",
                "unixvc.ReadTests.test_somebody_else_is_told_from_now_on",
                note="One reactor thread, so there are no locks; what could be seen of them is kept (D5).",
            ),
        ),
    ),
    Section(
        "Hooks, and what they may ask for",
        "S070-S082",
        (
            works(
                "S070",
                "Before the first byte: each hook once, in order.",
                "sslvc_handshake.HookTests.test_order",
                "integration.hooks.HookTests.test_every_point_in_order",
            ),
            works(
                "S071",
                "They may answer later: the handshake waits.",
                "sslvc_handshake.HookTests.test_deferred",
                "integration.gold_hooks.HooksTests.test_tls_hooks3",
            ),
            works(
                "S072",
                "With the hello, the name and the certificate: each once, in order, with what is known by then.",
                "sslvc_handshake.HookTests.test_order",
                "clienthello.RealHelloTests.test_modern_client",
                "integration.gold_hooks.HooksTests.test_tls_hooks6",
            ),
            works(
                "S073",
                "These may answer later too, at no cost while they do not.",
                "sslvc_handshake.HookTests.test_deferred",
                "sslvc_handshake.HookTests.test_parked",
                "integration.gold_hooks.HooksTests.test_tls_hooks9",
            ),
            works(
                "S074",
                "Going on or waiting, for each kind of answer; called_hooks() says whose turn it is.",
                "hooks.HookWalkTests.test_all_at_once",
                "hooks.HookWalkTests.test_parked",
                "sslvc_handshake.HookTests.test_order",
            ),
            works(
                "S075",
                "The answer may come from within, later, or from another thread; late and double ones are harmless.",
                "sslvc_handshake.HookTests.test_handle",
                "sslvc_handshake.HookTests.test_parked_and_answered_by_a_thread",
                "sslvc_handshake.HookTests.test_parked_and_answered_from_within",
                "hooks.HookWalkTests.test_a_handle_answers_for_its_hook_alone",
                "sslvc_handshake.HookTests.test_answer_after_the_end",
            ),
            works(
                "S076",
                "A VIO that is reenabled goes on.",
                "vio.VIOTests.test_reenable",
                "unixvc.ReenableTests.test_at_once",
            ),
            works(
                "S077",
                "DEFAULT: TLS as usual.",
                "sslvc.ObjectTests.test_fresh",
                "sslvc_handshake.HookTests.test_order",
            ),
            works(
                "S078",
                "TUNNEL before the first byte: a blind tunnel, and client and origin shake hands with each other.",
                "sslvc_handshake.HookTests.test_tunnel",
                "splice.SpliceTests.test_handshake_through",
            ),
            works(
                "S079",
                "TUNNEL behind the hello: the origin gets it whole, once.",
                "sslvc_handshake.HookTests.test_tunnel",
                "splice.SpliceTests.test_hello_at_every_cut",
                "integration.first_byte.FirstByteTests.test_a_hook_asks_for_a_tunnel",
            ),
            works(
                "S080",
                "TERMINATE: refused, with an alert, and nobody gets the connection.",
                "sslvc_handshake.HookTests.test_terminate",
                "sslvc_handshake.HookTests.test_refuse",
                "integration.hooks.HookTests.test_refusals_and_bugs",
            ),
            works(
                "S081",
                "A client that leaves while a hook has its connection: nothing breaks; hooks of the close are told.",
                "sslvc_handshake.HookTests.test_peer_leaves_while_parked",
                "sslvc_handshake.HookTests.test_told_of_the_close",
                "integration.gold_hooks.ParkedTests.test_tls_hooks_close_while_parked",
            ),
            works(
                "S082",
                "Another certificate, chosen by a hook.",
                "sslvc_handshake.ServerHandshakeTests.test_context_set",
            ),
        ),
    ),
    Section(
        "Data over TLS",
        "S090-S114",
        (
            works(
                "S090",
                "Of several states one counts: tunnel, closed, broken, not wanted, in this order.",
                "sslvc_facts.EngineAnswerTests.test_guards",
                "attacks.RenegotiationTests.test_refused_behind_data",
            ),
            works(
                "S091",
                "A blind tunnel moves bytes as they are.",
                "oddities.DataOddityTests.test_o6_a_blind_tunnel_has_no_records",
                "tunnel.TwoWayTests.test_both_directions",
                "integration.edge.RouteTests.test_tunnel_is_byte_for_byte",
            ),
            works(
                "S092",
                "Who does not read is not read for: the buffer keeps its size, the window closes, nothing is lost.",
                "attacks.MemoryTests.test_user_that_does_not_consume",
                "unixvc.ReadTests.test_back_pressure",
                "integration.limits.UploadTests.test_forward",
            ),
            works(
                "S093",
                "Each answer of TLS to a read has one consequence.",
                "sslvc_facts.EngineAnswerTests.test_reads",
                "engine.Base.test_close_notify",
                "engine.Base.test_bad_mac",
            ),
            works(
                "S094",
                "Data first, then the end.",
                "sslvc_data.ReadTests.test_data_then_end",
                "sslvc_facts.EngineAnswerTests.test_reads",
            ),
            works(
                "S095",
                "The trace: what came and what went, escaped, with addresses and counts.",
                "trace.TraceTests.test_a_conversation",
                "trace.TraceTests.test_much",
                "trace.TraceTests.test_forged_lines",
            ),
            works(
                "S096",
                "Without a trace not a byte of plaintext is in the log.",
                "trace.TraceTests.test_no_plaintext_without_trace",
                "trace.TraceTests.test_not_wanted",
            ),
            works(
                "S097",
                "Exactly as many bytes as were asked for; the rest needs no word of the kernel.",
                "sslvc_data.ReadTests.test_exact",
                "engine.Base.test_limit",
            ),
            works(
                "S098",
                "An end without close_notify is EOS, and known not to be clean.",
                "sslvc_data.ReadTests.test_end_without_goodbye",
                "integration.half_close.HalfCloseTests.test_cut_off_by_the_client",
            ),
            works(
                "S099",
                "A record that was changed on its way: ERROR, and the alert.",
                "sslvc_data.ReadTests.test_damage",
                "integration.bad_input.ClientTests.test_a_forged_record",
            ),
            works(
                "S100",
                "Bytes arrive in order.",
                "sslvc_data.WriteTests.test_eight_megabytes",
                "integration.limits.BulkTests.test_both_sides_encrypted",
            ),
            works(
                "S101",
                "max_record_size: no record is larger.",
                "sslvc_data.RecordSizeTests.test_fixed",
                "integration.gold_tls.RecordSizeTests.test_tls_record_size_fixed",
            ),
            works(
                "S102",
                "Dynamic: 1300 bytes a record for the first million.",
                "sslvc_data.RecordSizeTests.test_dynamic",
                "recordsize.DynamicRecordSizerTests.test_never_large_too_soon",
                "integration.gold_tls.RecordSizeTests.test_tls_record_size_dynamic",
            ),
            works(
                "S103",
                "Dynamic: 16383 after it.",
                "sslvc_data.RecordSizeTests.test_dynamic",
                "recordsize.DynamicRecordSizerTests.test_small_first",
            ),
            works(
                "S104",
                "Dynamic: 1300 again after more than a second of silence.",
                "sslvc_data.RecordSizeTests.test_dynamic",
                "recordsize.DynamicRecordSizerTests.test_small_again_after_a_pause",
            ),
            works(
                "S105",
                "0: as large as TLS has them.",
                "sslvc_data.RecordSizeTests.test_no_clamp",
                "recordsize.RecordSizerTests.test_no_clamp_needs_no_object",
            ),
            works(
                "S106",
                "Small and large records are counted, each once.",
                "recordsize.DynamicRecordSizerTests.test_counters",
                "oddities.DataOddityTests.test_o5_record_sizes_are_counted_by_what_was_written",
            ),
            works(
                "S107",
                "A write says how much was written, also when it stopped in the middle.",
                "sslvc_facts.EngineAnswerTests.test_writes",
                "oddities.DataOddityTests.test_o2_a_write_says_what_was_written",
            ),
            works(
                "S108",
                "A write that needs a message of the peer first waits for it.",
                "sslvc_facts.EngineAnswerTests.test_writes",
                "attacks.RenegotiationTests.test_writing_waits_for_the_new_handshake",
                "sslvc.CornerTests.test_write_that_has_to_wait",
            ),
            works(
                "S109",
                "A write that fails is ERROR, soon.",
                "sslvc_facts.EngineAnswerTests.test_writes",
                "sslvc_data.WriteTests.test_reset_while_writing",
                "oddities.DataOddityTests.test_o8_a_failed_write_is_an_error",
            ),
            works(
                "S110",
                "Writes are counted: connections found on the write list, and system calls that found no room.",
                "statistics.NetTests.test_turns",
                "statistics.NetTests.test_no_room_to_write",
                note="Not each piece (calls_to_write): that would cost every write an increment.",
            ),
            works(
                "S111",
                "WRITE_READY and WRITE_COMPLETE as over TCP.",
                "sslvc_data.WriteTests.test_asked_for_more",
                "sslvc_data.WriteTests.test_complete_means_that_the_kernel_has_it",
                "sslvc_facts.OneOfTwoTests.test_one_echo_for_both",
            ),
            works(
                "S112",
                "A write of nothing: nothing on the wire, and nobody is told, but for who waits for the handshake.",
                "sslvc_data.WriteTests.test_nothing_to_write",
                "sslvc_handshake.ClientHandshakeTests.test_zero_length_write",
            ),
            works(
                "S113",
                "No event after a close.",
                "sslvc_data.ReadTests.test_closed_when_told",
                "life.LifeTests.test_any_order",
                "unixvc.CloseTests.test_close_of_another",
            ),
            works(
                "S114",
                "Failures of TLS are counted, each by its kind.",
                "statistics_tls.FailureTests.test_alerts_of_clients",
                "statistics_tls.FailureTests.test_what_clients_do",
                "statistics_tls.FailureTests.test_peers_that_leave",
                "statistics_tls.FailureTests.test_ends",
                "statistics_tls.FailureTests.test_a_flood",
            ),
        ),
    ),
    Section(
        "Protocols, acceptors, processors",
        "S120-S138",
        (
            works(
                "S120",
                "A connection has one set of protocols.",
                "sslvc_handshake.ServerHandshakeTests.test_one_set_for_a_connection",
            ),
            cannot(
                "S121",
                "NPN: the server's protocols, as they go over the wire, before there was ALPN.",
                "nextprotocol_set.SSLNextProtocolSetTests.test_empty",
                "nextprotocol_set.SSLNextProtocolSetTests.test_any_names",
                missing="Context.set_npn_advertise_callback, which pyOpenSSL gave up in 19.1, as browsers did before",
                instead="ALPN, which every client of today speaks. The wire form is made all the same, and is ALPN's",
            ),
            works(
                "S122",
                "ALPN: our order counts; nothing in common gets the alert that says so, no wish at all goes on.",
                "sslvc_handshake.ServerHandshakeTests.test_alpn",
                "sslvc_handshake.ServerHandshakeTests.test_alpn_without",
                "sslvc_handshake.ServerHandshakeTests.test_alpn_nothing_in_common",
                "integration.edge.TLSTests.test_alpn",
            ),
            works(
                "S123",
                "Protocols are registered, found and taken back; names are of 1 to 255 bytes, each once.",
                "nextprotocol_set.SSLNextProtocolSetTests.test_find",
                "nextprotocol_set.SSLNextProtocolSetTests.test_name_lengths",
                "nextprotocol_set.SSLNextProtocolSetTests.test_duplicate",
                "nextprotocol_set.SSLNextProtocolSetTests.test_unregister",
            ),
            works(
                "S124",
                "The acceptor of a TLS port sees to the handshake, with a trampoline for each connection.",
                "nextprotocol_accept.NextProtocolAcceptTests.test_nothing_before_the_handshake",
                "nextprotocol_accept.NextProtocolAcceptTests.test_nothing_is_kept",
            ),
            works(
                "S125",
                "It takes nothing but connections, and no bytes.",
                "nextprotocol_accept.NextProtocolAcceptTests.test_other_events",
                "nextprotocol_accept.NextProtocolAcceptTests.test_accept",
            ),
            works(
                "S126",
                "The trampoline hands the connection on when the handshake is done, and closes it at any other end.",
                "nextprotocol_accept.NextProtocolAcceptTests.test_each_end",
                "nextprotocol_accept.NextProtocolAcceptTests.test_stray_timer_after_the_hand_over",
                "integration.gold_timeouts.HandshakeTimerTests.test_tls_accept_timeout_crash",
            ),
            works(
                "S127",
                "Without ALPN the default endpoint gets it.",
                "nextprotocol_accept.NextProtocolAcceptTests.test_dispatch",
            ),
            works(
                "S128",
                "Where nobody is there to get it, it is closed.",
                "nextprotocol_accept.NextProtocolAcceptTests.test_nobody",
            ),
            works(
                "S129",
                "A resumed session agrees on its protocol anew.",
                "sslvc_handshake.ServerHandshakeTests.test_resumption",
            ),
            works(
                "S130",
                "SSLNetAccept differs from the acceptor of a plain port in what it makes of a socket.",
                "ssl_processor.ProcessorTests.test_accept",
                "oddities.NetOddityTests.test_o35_connections_belong_to_the_handler_that_was_asked_for",
                note="One for a port and reactor: there are no net threads to clone it for.",
            ),
            works(
                "S131",
                "Certificates, contexts and settings are complete before a port opens; if they cannot be, none opens.",
                "integration.edge.StartTests.test_every_mistake_has_its_line",
                "integration.edge.StartTests.test_a_key_that_is_none",
                "routes.BuildTests.test_all_that_is_wrong",
            ),
            works(
                "S132",
                "accept, connect_re and connect_s over TLS: OPEN as soon as begun, or when the origin was accepted.",
                "ssl_processor.ProcessorTests.test_accept",
                "ssl_processor.ProcessorTests.test_connect",
                "ssl_processor.ProcessorTests.test_wrong_origin",
            ),
            works(
                "S133",
                "A processor makes TLS connections, on the handler that it was given.",
                "ssl_processor.ProcessorTests.test_interfaces",
                "oddities.NetOddityTests.test_o35_connections_belong_to_the_handler_that_was_asked_for",
            ),
            works(
                "S134",
                "A tunnel: who waited for the handshake is told, then the owner gets the connection, then its bytes.",
                "nextprotocol_accept.NextProtocolAcceptTests.test_blind_tunnel",
                "oddities.SessionOddityTests.test_o26_the_owner_of_a_tunnel_is_told_of_bytes",
            ),
            works(
                "S135",
                "What was read before counts as read by the owner's request, byte by byte.",
                "oddities.SessionOddityTests.test_o26_the_owner_of_a_tunnel_is_told_of_bytes",
                "sslvc_handshake.HookTests.test_tunnel_piece_by_piece",
                note="Traffic Server writes it behind the request's back and raises both counts (D3).",
            ),
            works(
                "S136",
                "Sessions of clients are kept, found, and let go when their time is up.",
                "contexts.ResumptionTests.test_switches",
                "resumption.ResumptionTests.test_ticket_and_id",
                "resumption.AttackTests.test_past_the_client_certificate",
                "oddities.SessionTimeOddityTests.test_o38_a_session_that_is_over_is_not_used",
                "integration.edge.TLSTests.test_sessions_resume",
                "integration.sessions.ServerTests.test_no_way_past_the_client_certificate",
                note="By OpenSSL's own cache and by tickets. A cache of one's own, shared by several programs, would "
                "need SSL_CTX_sess_set_get_cb, which pyOpenSSL does not have.",
            ),
            works(
                "S137",
                "The trace towards an origin names the client.",
                "trace.TraceTests.test_origin",
                "trace.TraceTests.test_origin_fails",
            ),
            works(
                "S138",
                "TLS is entered at two places, the head of a read and of a write; nothing above knows of it.",
                "floors.HouseTests.test_imports_go_down_only",
                "floors.HouseTests.test_private_names_of_openssl_stay_in_the_engine",
                "sslvc_facts.OneOfTwoTests.test_requests_are_inherited",
            ),
        ),
    ),
    Section(
        "Events and continuations",
        "N001-N005",
        (
            works(
                "N001",
                "A continuation has a handler that can change.",
                "continuation.ContinuationTests.test_tells_the_handler",
                "continuation.ContinuationTests.test_state_is_the_handler",
            ),
            works(
                "N002",
                "What was called off is not told.",
                "continuation.ActionTests.test_cancel",
                "processor.ProcessorTests.test_cancel",
                "processor.ProcessorTests.test_cancel_while_resolving",
                "accept.AcceptTests.test_cancel_with_some_waiting",
            ),
            works("N003", "What happened at once is told by ACTION_RESULT_DONE.", "continuation.ActionTests.test_done"),
            works(
                "N004",
                "The numbers of events and answers are Traffic Server's.",
                "events.EventTests.test_numbers_are_traffic_servers",
            ),
            works(
                "N005",
                "A connection that is closed within call-backs is freed when the outermost returns.",
                "unixvc.CloseTests.test_freed_within",
                "unixvc.CloseTests.test_close_within_read_ready",
            ),
        ),
    ),
    Section(
        "Buffers",
        "N010-N020",
        (
            works("N010", "Blocks are shared between buffers, not copied.", "iobuffer.SharedWriteTests.test_shares"),
            works(
                "N011",
                "Bytes that are written are copied, over as many blocks as it takes.",
                "iobuffer.MIOBufferTests.test_write_copies",
                "iobuffer.ModelTests.test_model",
            ),
            works(
                "N012",
                "A reader's bytes, or a part of them, written into another buffer; the reader does not move.",
                "iobuffer.SharedWriteTests.test_part",
                "iobuffer.SharedWriteTests.test_of_a_moved_reader",
                "iobuffer.ModelTests.test_model",
            ),
            works(
                "N013",
                "Room, and bytes that the kernel has put there.",
                "iobuffer.MIOBufferTests.test_fill",
                "iobuffer.MIOBufferTests.test_fill_too_much",
                "iobuffer.ModelTests.test_model",
            ),
            works(
                "N014",
                "The water mark, and back-pressure by a buffer without room.",
                "iobuffer.MIOBufferTests.test_back_pressure",
                "iobuffer.MIOBufferTests.test_water_mark",
                "iobuffer.ModelTests.test_model",
            ),
            works(
                "N015",
                "Up to five readers, each at its place; the slowest keeps the data.",
                "iobuffer.MIOBufferTests.test_at_most_five_readers",
                "iobuffer.MIOBufferTests.test_slowest_reader_decides",
                "iobuffer.IOBufferReaderTests.test_clone",
            ),
            works(
                "N016",
                "A reader counts, consumes, copies, looks and searches.",
                "iobuffer.IOBufferReaderTests.test_counts",
                "iobuffer.IOBufferReaderTests.test_consume_too_much",
                "iobuffer.IOBufferReaderTests.test_read_and_memcpy",
                "iobuffer.IOBufferReaderTests.test_index",
                "iobuffer.IOBufferReaderTests.test_memchr",
                "iobuffer.IOBufferReaderTests.test_reset",
            ),
            works(
                "N017",
                "What was read is given back, also by a reader that leaves.",
                "iobuffer.MIOBufferTests.test_drained_buffer_holds_nothing",
                "iobuffer.MIOBufferTests.test_left_buffer_holds_nothing",
                "iobuffer.MIOBufferTests.test_several_readers_free_memory",
            ),
            works("N018", "Fifteen sizes of blocks, 128 bytes to 2 MiB.", "iobuffer.PoolTests.test_sizes"),
            works(
                "N019",
                "A buffer with a block, and one without until it is needed.",
                "iobuffer.MIOBufferTests.test_empty_or_ready",
            ),
            works(
                "N020",
                "What a VIO knows of its buffer: to write, to read, or nothing.",
                "vio.VIOTests.test_buffer_accessor",
            ),
        ),
    ),
    Section(
        "Requests, and what else a connection can be asked",
        "N030-N043",
        (
            works(
                "N030",
                "A VIO: bytes wanted and done, who is told; it is reenabled, now or soon, and ended.",
                "vio.VIOTests.test_ntodo",
                "vio.VIOTests.test_done_of_a_write",
                "vio.VIOTests.test_reenable",
                "vio.VIOTests.test_set_continuation",
                note="It has no mutex (D5).",
            ),
            works(
                "N031",
                "A request without a length runs until the peer ends.",
                "unixvc.ReadTests.test_data_before_the_end",
                "unixvc.StreamProperties.test_every_byte_once_and_in_order",
            ),
            works(
                "N032",
                "Which event is told when, for reads and for writes.",
                "unixvc.ReadTests.test_ready_then_complete",
                "unixvc.ReadTests.test_data_before_the_end",
                "unixvc.ReadTests.test_zero_length",
                "unixvc.WriteTests.test_complete_only",
                "unixvc.WriteTests.test_asked_before_the_write",
                "unixvc.WriteTests.test_full_buffer_asks_after_the_write",
                "unixvc.WriteTests.test_zero_length",
            ),
            works(
                "N033",
                "A VIO that was switched off by hand stays so.",
                "vio.VIOTests.test_disable",
                "unixvc.ReadTests.test_disabled_by_hand",
            ),
            works(
                "N034",
                "A new request begins at nought, also within the call-back of another.",
                "unixvc.ReadTests.test_new_request_from_within",
                "unixvc.WriteTests.test_new_request_from_within_complete",
            ),
            works(
                "N035",
                "A request that was taken back is told nothing; a timeout then closes.",
                "unixvc.ReadTests.test_taken_back",
                "cop.CopTests.test_nobody_to_be_told",
            ),
            works("N036", "Without a buffer timeouts are told all the same.", "cop.CopTests.test_without_a_buffer"),
            works(
                "N037",
                "On a closed connection every request is None.",
                "unixvc.CloseTests.test_closed_connection_takes_no_requests",
            ),
            works(
                "N038",
                "Urgent data over TCP, one at a time, called off at any time; refused over TLS.",
                "oob.UrgentTests.test_sent",
                "oob.UrgentTests.test_one_at_a_time",
                "oob.UrgentTests.test_cancelled",
                "oob.UrgentTests.test_not_over_tls",
            ),
            works(
                "N039",
                "Told once when a write has emptied the buffer.",
                "writetrap.TrapTests.test_told_once",
                "writetrap.TrapTests.test_taken_back",
            ),
            works(
                "N040",
                "Facts by number, the last error, options that are applied to an open socket.",
                "vcfacts.DataTests.test_get_data",
                "vcfacts.DataTests.test_set_data",
                "vcfacts.DataTests.test_flags",
                "unixvc.CloseTests.test_codes",
            ),
            works(
                "N041",
                "Addresses of both ends, also those that a load balancer knows better.",
                "unixvc.FactTests.test_addresses",
                "unixvc.FactTests.test_addresses_that_others_know_better",
                "proxied.ProxiedTests.test_who_the_client_is",
            ),
            works(
                "N042",
                "Options of sockets: where to connect from, flags, buffers, class and mark of packets.",
                "connection.OpenSocketTests.test_flags",
                "connection.OpenSocketTests.test_local_address",
                "connection.OpenSocketTests.test_foreign_address",
                "integration.transparent.DeliveredTests.test_the_clients_address",
                "connection.OpenSocketTests.test_buffers",
                "connection.OpenSocketTests.test_tos",
                "connection.OpenSocketTests.test_mark",
                "processor.ProcessorTests.test_options",
            ),
            works(
                "N043",
                "What is spoken, from above to below, and who can do what.",
                "vcfacts.DataTests.test_plain_protocols",
                "vcfacts.DataTests.test_plain_contains",
                "vcfacts.DataTests.test_plain_service",
                "vcfacts.TLSFactsTests.test_protocols",
            ),
        ),
    ),
    Section(
        "The handler and its turns",
        "N050-N058",
        (
            works(
                "N050",
                "Ready connections: first come, first served, each once.",
                "handler.TurnTests.test_order_within_one_turn",
                "handler.TurnTests.test_on_the_list_once",
                "handler.TurnTests.test_only_enabled_and_triggered",
            ),
            works(
                "N051",
                "Another thread may reenable: the loop is woken.",
                "handler.WakeTests.test_wake_from_a_thread",
                "unixvc.ReenableTests.test_from_another_thread",
            ),
            works(
                "N052",
                "All reads of a turn, then all writes; closed connections are not touched.",
                "handler.TurnTests.test_reads_before_writes",
                "handler.TurnTests.test_order_within_one_turn",
                "oddities.NetOddityTests.test_o44_one_that_always_has_more_starves_nobody",
                "handler.TurnTests.test_closed_before_its_pass",
            ),
            works(
                "N053",
                "What is not wanted is not watched; idleness counts while something is wanted.",
                "poll.ReactorPollTests.test_watched_only_while_it_rests",
                "poll.PollTests.test_readiness_before_the_request",
                "cop.CopTests.test_both_directions_off",
                note="With edge-triggered epoll the kernel's word is kept instead, which costs nothing.",
            ),
            works(
                "N054",
                "A direction that could go on is on the list, and one that could not is not.",
                "handler.TurnTests.test_on_the_list_once",
                "unixvc.WriteTests.test_triggered_by_something_else",
                "handler.TurnTests.test_turn_without_progress_does_not_queue_itself",
            ),
            works(
                "N055",
                "The period of a timeout begins when something is wanted.",
                "cop.CopTests.test_period_begins_when_it_is_enabled",
                "cop.CopTests.test_both_directions_off",
            ),
            works(
                "N056",
                "reenable never calls back from within, reenable_re may.",
                "unixvc.ReenableTests.test_at_once",
                "unixvc.ReenableTests.test_at_once_from_within",
            ),
            works(
                "N057",
                "An error that the kernel reports wakes both directions.",
                "poll.PollTests.test_error_wakes_both_directions",
            ),
            works(
                "N058",
                "One who floods does not keep others waiting.",
                "handler.TurnTests.test_a_flood_delays_nobody",
                "handler.TurnTests.test_one_share_a_turn",
                "integration.limits.FloodTests.test_records_of_one_byte",
            ),
        ),
    ),
    Section(
        "Reading, writing and closing over TCP",
        "N060-N066",
        (
            works(
                "N060",
                "Reading into the block where the bytes stay.",
                "unixvc.ReadTests.test_ready_then_complete",
                "unixvc.ReadTests.test_never_more_than_asked",
                "unixvc.ReadTests.test_nothing_read_for_nothing",
            ),
            works(
                "N061",
                "Writing from there, after asking for more.",
                "unixvc.WriteTests.test_asked_before_the_write",
                "unixvc.WriteTests.test_many_small_blocks",
                "unixvc.WriteTests.test_never_more_than_asked",
            ),
            works(
                "N062",
                "A kernel that would block is asked again when it says so.",
                "unixvc.ReadTests.test_would_block",
                "unixvc.WriteTests.test_would_block",
            ),
            works(
                "N063",
                "A reset is an unclean end for a reader and an error for a writer.",
                "unixvc.ReadTests.test_reset_is_an_unclean_end",
                "unixvc.ReadTests.test_gone_in_every_way",
                "unixvc.WriteTests.test_peer_is_gone",
            ),
            works(
                "N064",
                "A close is in order, or says why, and is a reset then.",
                "unixvc.CloseTests.test_codes",
                "unixvc.CloseTests.test_close_with_a_reason_is_a_reset",
            ),
            works(
                "N065",
                "A direction that was ended is told nothing, not even a timeout.",
                "unixvc.ShutdownTests.test_read",
                "unixvc.ShutdownTests.test_write",
                "unixvc.ShutdownTests.test_both",
                "unixvc.ShutdownTests.test_no_timeouts",
            ),
            works(
                "N066",
                "Who closes without waiting loses what was not sent.",
                "unixvc.CloseTests.test_unsent_bytes_are_dropped",
            ),
        ),
    ),
    Section(
        "Timeouts",
        "N070-N077",
        (
            works(
                "N070",
                "Inactivity: every byte puts it off.",
                "cop.CopTests.test_inactivity_comes_within_a_patrol",
                "cop.CopTests.test_inactivity_moves_with_bytes",
            ),
            works("N071", "Active: nothing does.", "cop.CopTests.test_active_does_not_move"),
            works(
                "N072",
                "Each comes once; 0 and cancelling switch it off.",
                "cop.CopTests.test_inactivity_is_one_shot",
                "cop.CopTests.test_zero_and_cancel",
            ),
            works(
                "N073",
                "The reader is told, then the writer, unless that is the same or the reader has set it again.",
                "cop.CopTests.test_reader_then_writer",
                "cop.CopTests.test_one_user_is_told_once",
                "cop.CopTests.test_set_again_by_the_reader",
                "cop.CopTests.test_writer_replaced_by_the_reader",
            ),
            works(
                "N074",
                "All connections are looked at once a second.",
                "cop.CopTests.test_inactivity_comes_within_a_patrol",
                "cop.CopTests.test_start_and_stop",
            ),
            works(
                "N075",
                "A default for those who set none, counted.",
                "cop.CopTests.test_default",
                "cop.CopTests.test_default_and_own",
                "integration.gold_timeouts.InactivityTests.test_default_inactivity_timeout",
            ),
            works(
                "N076",
                "Those of which nothing is wanted, and the closed ones, are passed over.",
                "cop.CopTests.test_default_only_while_something_is_wanted",
                "cop.CopTests.test_closed_and_still_sending",
                "cop.CopTests.test_several_late_ones",
            ),
            works("N077", "When both are due inactivity is told.", "cop.CopTests.test_inactivity_comes_first"),
        ),
    ),
    Section(
        "Active and keep-alive queues",
        "N080-N083",
        (
            works(
                "N080",
                "Over the limit those who have been idle longest are told that their time is up.",
                "queues.QueueTests.test_oldest_idle_is_closed",
                "queues.QueueTests.test_in_one_queue_at_most",
                "queues.QueueTests.test_kind_of_timeout",
                "queues.QueueTests.test_an_answer_on_its_way",
                "integration.counting.CountingTests.test_idle_ones_make_room",
            ),
            works(
                "N081",
                "A new request is refused when all are busy and none is late; who is active stays so.",
                "queues.QueueTests.test_request_refused",
                "queues.QueueTests.test_late_ones_make_room",
                "queues.QueueTests.test_limits",
                "integration.counting.CountingTests.test_requests",
                "integration.counting.CountingTests.test_requests_that_go_on",
            ),
            works(
                "N082",
                "How many were told, and how long they had been idle, is counted.",
                "queues.QueueTests.test_counters",
            ),
            works(
                "N083",
                "The limits are the handler's and can be changed.",
                "queues.QueueTests.test_limits",
                "queues.QueueTests.test_the_cop_keeps_the_limits",
                note="One handler for a reactor: nothing has to be divided.",
            ),
        ),
    ),
    Section(
        "Accepting",
        "N090-N095",
        (
            works(
                "N090",
                "Errors are passed over, waited for, or the end, by what they are.",
                "accept.AcceptTests.test_seriousness",
                "accept.AcceptTests.test_transient_error",
                "accept.AcceptTests.test_out_of_resources",
                "accept.AcceptTests.test_fatal_error",
            ),
            works(
                "N091",
                "Told from within the call whether the port is open.",
                "accept.AcceptTests.test_callback_on_open",
                "accept.AcceptTests.test_callback_on_failure",
            ),
            works(
                "N092",
                "Cancelled, the port is free at once.",
                "accept.AcceptTests.test_cancel",
                "oddities.NetOddityTests.test_o34_a_closed_acceptor_leaves_nothing",
            ),
            works("N093", "So many a turn, and then those who are in.", "accept.AcceptTests.test_some_a_turn"),
            works(
                "N094",
                "Listening sockets: loopback only, buffers, flags, deferred accept, a back door past the limits.",
                "accept.AcceptTests.test_options",
                "transparent.PortTests.test_options",
                "accept.AcceptTests.test_localhost_only",
                "accept.AcceptTests.test_deferred",
                "accept.AcceptTests.test_backdoor",
            ),
            works(
                "N095",
                "An accepted connection has a number, a time and the address that its client meant.",
                "accept.AcceptTests.test_accepted",
                "transparent.PortTests.test_accepted",
                "integration.transparent.DeliveredTests.test_plain",
                "integration.transparent.DeliveredTests.test_the_port_itself",
                "integration.transparent.RedirectedTests.test_redirected",
            ),
        ),
    ),
    Section(
        "Limits",
        "N100-N105",
        (
            works(
                "N100",
                "Over connections_throttle new ones are closed at once and counted; the warning does not repeat.",
                "accept.AcceptTests.test_throttle",
                "throttle.ThrottleTests.test_accept",
                "throttle.ThrottleTests.test_warning",
            ),
            works(
                "N101",
                "Nor is a new one begun.",
                "processor.ProcessorTests.test_throttled",
                "throttle.ThrottleTests.test_connect",
            ),
            works(
                "N102",
                "Some of those turned away get a text.",
                "farewell.FarewellTests.test_asked",
                "farewell.FarewellTests.test_silent",
                "farewell.FarewellTests.test_bounded",
                "integration.counting.CountingTests.test_a_word_for_who_is_too_many",
            ),
            works(
                "N103",
                "A new limit applies at once.",
                "throttle.ThrottleTests.test_change",
                "edge_service.EdgeTests.test_few_descriptors",
                "oddities.NetOddityTests.test_o31_a_new_limit_applies_at_once",
            ),
            works(
                "N104",
                "So many connections for each address, with exceptions; counted, and told now and then.",
                "accept.AcceptTests.test_per_client",
                "perclient.ClientLimitTests.test_exempt",
                "perclient.ClientLimitTests.test_alert",
                "integration.counting.CountingTests.test_connections_of_one_address",
            ),
            works(
                "N105",
                "The last descriptors are kept, and running out of them harms nobody.",
                "accept.DescriptorTests.test_descriptors_really_run_out",
                "accept.AcceptTests.test_descriptors_nearly_gone",
                "processor.ProcessorTests.test_descriptors_nearly_gone",
                "integration.limits.DescriptorTests.test_too_many",
            ),
        ),
    ),
    Section(
        "Connecting",
        "N110-N112",
        (
            works(
                "N110",
                "connect_re is told as soon as it is begun, connect_s when it stands.",
                "processor.ProcessorTests.test_connect_re",
                "processor.ProcessorTests.test_connect_s",
                "processor.ProcessorTests.test_connect_s_refused",
                "processor.ProcessorTests.test_next_address",
            ),
            works(
                "N111",
                "A time for it.",
                "processor.ProcessorTests.test_connect_s_timeout",
                "processor.ProcessorTests.test_time_for_each_address",
                "integration.gold_timeouts.ConnectTimerTests.test_tls_conn_timeout",
            ),
            works(
                "N112",
                "A socket that is connected already becomes a connection.",
                "processor.ProcessorTests.test_adopt",
            ),
        ),
    ),
    Section(
        "Tunnels",
        "N120-N124",
        (
            works(
                "N120",
                "One direction: what is read is written, and each end is passed on as what it was.",
                "tunnel.OneWayTests.test_end",
                "tunnel.OneWayTests.test_error",
                "tunnel.OneWayTests.test_timeout",
                "tunnel.OneWayTests.test_connections_are_left",
                "tunnel.OneWayTests.test_fewer_than_promised",
                "tunnel.OneWayTests.test_unknown_event",
                "tunnel.StreamTests.test_any",
            ),
            works(
                "N121",
                "Both directions, half-closed ones too.",
                "tunnel.TwoWayTests.test_both_directions",
                "tunnel.TwoWayTests.test_half_close",
                "tunnel.TwoWayTests.test_reset",
            ),
            works(
                "N122",
                "One source, up to four targets, at the pace of the slowest.",
                "multitunnel.MultiTunnelTests.test_everybody_gets_everything",
                "multitunnel.MultiTunnelTests.test_slowest_sets_the_pace",
                "multitunnel.MultiTunnelTests.test_a_target_that_fails_drops_out",
                "multitunnel.MultiTunnelTests.test_refused",
            ),
            works(
                "N123",
                "So many bytes and no more, a bound for what waits, and bytes that are changed on the way.",
                "tunnel.OneWayTests.test_limit",
                "tunnel.TwoWayTests.test_stalled_target",
                "tunnel.OneWayTests.test_manipulate",
                "tunnel.OneWayTests.test_manipulate_and_stall",
                "tunnel.OneWayTests.test_water_mark",
            ),
            works(
                "N124",
                "The other direction has failed: it is over, with its result.",
                "tunnel.OneWayTests.test_other_direction_failed",
            ),
        ),
    ),
    Section(
        "What the first bytes are",
        "N130-N132",
        (
            works(
                "N130",
                "HTTP/2 by its preface, anything else is HTTP/1's affair; who says nothing is late.",
                "probe.ProbeTests.test_whose",
                "probe.ProbeTests.test_dribble",
                "probe.ProbeTests.test_silence",
                "probe.ProbeOverTLSTests.test_preface_is_http_1",
            ),
            works(
                "N131",
                "Who makes a session gets the connection with the bytes that came first, and may refuse.",
                "session_protocol.FirstBytesTests.test_interface",
                "session_protocol.FirstBytesTests.test_first_bytes",
                "session_protocol.FirstBytesTests.test_refused",
                "probe.ProbeTests.test_refused",
            ),
            works(
                "N132",
                "Bytes that were looked at are handed over, once.",
                "probe.ProbeTests.test_whose",
                "probe.ProbeTests.test_protocol_behind",
            ),
        ),
    ),
    Section(
        "Counting and configuring",
        "N140-N141",
        (
            works(
                "N140",
                "Counters, gauges, handshake times, by Traffic Server's names; read and compared in one call each.",
                "statistics.RegistryTests.test_one_in_a_process",
                "statistics.RegistryTests.test_difference",
                "statistics.TableTests.test_names",
                "statistics.TableTests.test_every_one_is_tested",
                "statistics.NetTests.test_a_flood",
                "statistics_edge.TunnelTests.test_a_flood",
                "statistics_edge.RunningEdgeTests.test_every_way",
            ),
            works(
                "N141",
                "Settings have types and ranges; what is wrong is told all at once, before anything is opened.",
                "config.MistakeTests.test_each",
                "config.MistakeTests.test_all_at_once",
                "config.ValueTests.test_each",
                "config.ArbitraryTextTests.test_any_value",
                "reload.ReloadTests.test_mistakes",
                "reload.ReloadTests.test_limits",
            ),
        ),
    ),
    Section(
        "The shape in Twisted",
        "P01-P12",
        (
            works(
                "P01",
                "One interface for each role, and whoever has a role says so and keeps to it.",
                "interfaces.RoleTests.test_every_role_is_played",
                "interfaces.RoleTests.test_every_class_keeps_to_its_role",
                "interfaces.RoleTests.test_of_others",
            ),
            works(
                "P02",
                "Connections are descriptors of the reactor's, of whichever there is.",
                "poll.MakeTests.test_best_there_is",
                "poll.PollTests.test_triggers",
                "conformance.loopback_tests.OtherReactorsTests.test_select",
                "conformance.loopback_tests.OtherReactorsTests.test_poll",
                "conformance.loopback_tests.OtherReactorsTests.test_asyncio",
                "integration.edge.StartTests.test_every_reactor",
            ),
            works(
                "P03",
                "TLS over memory, and never on a descriptor.",
                "engine.Base.test_handshake_and_data_at_every_cut",
                "floors.HouseTests.test_private_names_of_openssl_stay_in_the_engine",
                "ssl_processor.ProcessorTests.test_connect",
                note="The engine runs over anything that carries bytes. A connection wants a descriptor, of TCP or of "
                "a UNIX socket: its bytes go from the kernel into their block.",
            ),
            works(
                "P04",
                "A Twisted protocol uses a connection as its transport; endpoints; producers both ways.",
                "session_protocol.FaceTests.test_interfaces",
                "session_protocol.WebTests.test_http_1",
                "session_protocol.WebTests.test_http_2",
                "session_protocol.WritingTests.test_push_producer",
                "session_protocol.ReadingTests.test_pause",
                "endpoints.BothSidesTests.test_settings_of_ours",
                "integration.endpoints.TwistdWebTests.test_agent",
            ),
            works(
                "P05",
                "The transport tells the protocol that was agreed on, and the peer's certificate; the connection also "
                "its chains, the verified name, and the group of the key exchange.",
                "session_protocol.TLSFactsTests.test_negotiated_protocol",
                "session_protocol.TLSFactsTests.test_peer_certificate",
                "session_protocol.TLSFactsTests.test_not_before_the_handshake",
                "peerfacts.FactsTests.test_origin",
                "peerfacts.FactsTests.test_certificate_of_a_client",
                "peerfacts.FactsTests.test_names_that_were_not_found",
                "peerfacts.FactsTests.test_unreadable",
            ),
            works(
                "P06",
                "twistd atstls, with a configuration file.",
                "tap.TapTests.test_twistd_finds_it",
                "tap.TapTests.test_the_file_in_the_working_directory",
                "integration.edge.StartTests.test_the_welcome_page_answers_http1_and_http2",
            ),
            works(
                "P07",
                "It starts whole or not at all, and ends in order: nobody new, and who is there is served.",
                "edge_service.EdgeTests.test_start_and_stop",
                "edge_service.EdgeTests.test_ports_in_use",
                "integration.edge.StopTests.test_sigterm_drains",
                "integration.edge.StopTests.test_the_drain_has_an_end",
            ),
            works(
                "P08",
                "Certificates, rules and settings are read again while it runs; with a mistake nothing changes.",
                "edge_service.EdgeTests.test_a_new_plan",
                "reload.ReloadTests.test_another_route",
                "reload.ReloadTests.test_certificates",
                "reload.ReloadTests.test_mistakes",
                "reload.ReloadTests.test_a_port_in_use",
                "reload.ReloadTests.test_sessions",
                "integration.edge.ReloadTests.test_read_again",
                "integration.edge.ReloadTests.test_under_load",
            ),
            works(
                "P09",
                "Endpoint strings, for servers and for clients.",
                "endpoints.StringTests.test_plugins",
                "endpoints.StringTests.test_arguments_of_ssl",
                "integration.endpoints.TwistdWebTests.test_key_and_certificate",
            ),
            works(
                "P10",
                "Tests that always do the same: clocks, turns by hand, peers over socket pairs.",
                "life.LifeTests.test_any_order",
                "unixvc.StreamProperties.test_every_byte_once_and_in_order",
                "benchmarks.RequestTests.test_the_same_every_time",
            ),
            works(
                "P11",
                "Typed, documented, with Twisted's logger.",
                "docs.NamingTests.test_every_public_name_is_there",
                "interfaces.RoleTests.test_every_word_is_explained",
                "project.CodeTests.test_everything_is_annotated",
                "project.CodeTests.test_logs_are_twisteds",
            ),
            works(
                "P12",
                "What it costs, measured against Twisted's own TLS and others.",
                "benchmarks.ProgramTests.test_without_anybody",
                "benchmarks.ReportTests.test_table",
                "benchmarks.RequestTests.test_calls",
            ),
        ),
    ),
    Section(
        "Oddities",
        "O1-O50",
        (
            oddity(
                "O1",
                "A request of some bytes that wants no more, by done(), is taken for one of zero bytes, and told of"
                " the handshake.",
                "Only a request that was made of zero bytes waits for the handshake.",
            ),
            oddity(
                "O2",
                "A write counts what it attempts and leaves it to its caller to work out what was written.",
                "A write says what was written, or what it waits for, or that it failed.",
            ),
            oddity(
                "O3",
                "It is feared that more could be written than was asked for.",
                "Each piece is cut to what is left; that is tested over blocks and sizes of all kinds.",
            ),
            oddity(
                "O4",
                "A reader that stands behind its first block makes a write return 0, which is taken for the end of "
                "a healthy connection.",
                "Blocks that were read are skipped; a write never returns a 0 that means nothing.",
            ),
            oddity(
                "O5",
                "The size of records is chosen once for a whole write, by bytes that were attempted, and retries "
                "are counted as records.",
                "Each record is judged by what was sent before it, and counted once.",
            ),
            oddity(
                "O6",
                "The size of records is worked out for blind tunnels as well.",
                "A blind tunnel has no records.",
            ),
            oddity(
                "O7",
                "A write that had to wait may be repeated with another length or from another place, which OpenSSL "
                "refuses.",
                "OpenSSL is told that bytes may move, and a write that waits leaves nothing half done: another may "
                "take its place.",
                "attacks.RenegotiationTests.test_writing_waits_for_the_new_handshake",
            ),
            oddity(
                "O8",
                "A write that fails without an errno is told as an end.",
                "It is an ERROR, with EPIPE where there is no better number.",
            ),
            oddity(
                "O9",
                "One private read after the handshake keeps an end in mind, forgets an error, and may leave bytes "
                "behind that nobody looks for.",
                "There is none: what came with the last message is found by the first read, be it bytes, an end or "
                "an error.",
            ),
            oddity(
                "O10",
                "The time of a handshake is looked at when the peer sends something, 0 closes at once, and the "
                "user's own timers are overwritten.",
                "One deadline, whatever moves and whoever waits; 0 is none; the user's timers are his own.",
                "sslvc_handshake.ServerHandshakeTests.test_bytes_do_not_renew_the_deadline",
            ),
            oddity(
                "O11",
                "The socket is read while a hook has the connection: an end frees it under the hook's hands.",
                "Nothing is read meanwhile, and an answer for a connection that is gone does nothing.",
                "sslvc_handshake.HookTests.test_peer_leaves_while_parked",
            ),
            oddity(
                "O12",
                "A hook that answers from within is forgotten to have answered, and the hooks are asked again.",
                "Each hook is asked once.",
            ),
            oddity(
                "O13",
                "There are states that nothing uses; the question which hooks were called ignores which are meant.",
                "called_hooks() answers for the point it is asked about; an answer from within costs no other pass.",
            ),
            oddity(
                "O14",
                "TERMINATE marks the handshake as done and hands the connection on.",
                "The connection ends, with an alert; nobody gets it, and the hook of the close is told.",
                "sslvc_handshake.HookTests.test_terminate",
            ),
            oddity(
                "O15",
                "The number of an error may be what another call has left behind.",
                "ECONNRESET when the peer left, ENET_SSL_FAILED when TLS failed, ETIMEDOUT when it took too long.",
            ),
            oddity(
                "O16",
                "After a handshake with an origin writing goes on only where debugging is switched on.",
                "Both directions go on, always.",
            ),
            oddity(
                "O17",
                "A handshake that the writing direction finished is not told to who waits with a read.",
                "It is done for both directions, and told to each that waits, once.",
            ),
            oddity(
                "O18",
                "A read may bring more bytes than were asked for.",
                "Never; the rest waits, and needs no word of the kernel.",
                "sslvc_data.ReadTests.test_exact",
            ),
            oddity(
                "O19",
                "A read that has to write first waits for ever.",
                "Whatever a call of OpenSSL leaves to say goes out behind it.",
                "attacks.RenegotiationTests.test_allowed",
            ),
            oddity(
                "O20",
                "Some branches of the read can never be reached, and a closed connection is read once more.",
                "A pass has one outcome: bytes, an end, an error, or nothing.",
            ),
            oddity(
                "O21",
                "After a call-back the connection is used as if nothing could have happened.",
                "It is looked at again: open, wanted, the same request, a buffer there.",
            ),
            oddity(
                "O22",
                "A protocol that was taken back is still advertised.",
                "It is neither offered nor chosen any more.",
            ),
            oddity(
                "O23",
                "An event that nobody expects leaks the trampoline and leaves the connection open, or ends the "
                "program.",
                "It is logged, and the connection closed.",
            ),
            oddity(
                "O24",
                "Protocols that are registered later are preferred.",
                "Kept, and said: the special one is registered after the general one.",
            ),
            oddity(
                "O25",
                "All connections of a port share a buffer into which a tunnel's first bytes may be written.",
                "It never gets a byte: they wait in the connection for the buffer of its owner.",
            ),
            oddity(
                "O26",
                "A tunnel is told with two READ_COMPLETE, the second for a request that is not complete.",
                "Who waited for the handshake is told once; the owner gets READ_READY with the bytes.",
            ),
            oddity(
                "O27",
                "The active timeout does not fire.",
                "It does; inactivity first when both are due.",
                "cop.CopTests.test_active_does_not_move",
            ),
            oddity(
                "O28",
                "No timeout is taken for one that has passed.",
                "It is none.",
            ),
            oddity(
                "O29",
                "The default timeout is written into a connection's own period, stays there, and comes back when it"
                " was cancelled.",
                "It is the cop's: for those without a period of their own, while something is wanted of them. To "
                "cancel is to go back to it.",
            ),
            oddity(
                "O30",
                "Whether a connection was destroyed cannot be told from the answer of who delivers a timeout.",
                "Nobody is told; everybody looks.",
            ),
            oddity(
                "O31",
                "A new limit on connections is ignored.",
                "It applies to the next connection.",
            ),
            oddity(
                "O32",
                "The comment says that is warned every 10 seconds, the code every 10 minutes.",
                "One number: ten minutes.",
            ),
            oddity(
                "O33",
                "A descriptor that was closed in an emergency is used on.",
                "Who comes in so is closed and told to nobody; who goes out is told that it failed.",
            ),
            oddity(
                "O34",
                "An acceptor that ends leaves a connection object and its poll entry behind.",
                "It makes none in advance, and leaves nothing; its port is free at once.",
            ),
            oddity(
                "O35",
                "The acceptor of TLS ports uses the threads of TLS whatever was configured.",
                "It uses the handler that it was given.",
            ),
            oddity(
                "O36",
                "A tunnel tells of its end with the wrong object, and closes both directions when one ends.",
                "With itself; half an end is carried through, and bounded in time.",
                "tunnel.TwoWayTests.test_half_close",
            ),
            oddity(
                "O37",
                "To take a session out of the cache may loop for ever when it is not the first.",
                "Any session can be taken out of ours, which is for origins.",
            ),
            oddity(
                "O38",
                "A session that is over is counted as such, and used.",
                "It is not used.",
            ),
            oddity(
                "O39",
                "close_notify is sent even to a peer that is known to be gone.",
                "Not after its FIN nor after its reset.",
            ),
            oddity(
                "O40",
                "Whether another thread may touch the list of enabled connections is in doubt.",
                "It asks the loop, which does.",
            ),
            oddity(
                "O41",
                "A write that is taken back may keep its buffer.",
                "It knows no buffer any more.",
            ),
            oddity(
                "O42",
                "A certificate that asks for a tunnel is heeded when it was found by name only.",
                "A tunnel is one however it was chosen: by name or by address, before the hello or behind it.",
                "certtunnels.CertificateTunnelsTests.test_names",
                "integration.first_byte.CertificateTunnelTests.test_by_name",
                "integration.first_byte.CertificateTunnelTests.test_by_address",
            ),
            oddity(
                "O43",
                "Whether a connection is a client's is described in both ways.",
                "is_client is true when we connected.",
            ),
            oddity(
                "O44",
                "A connection that always has more is read again and again, and the others wait.",
                "A turn is one pass over those that were ready when it began.",
                "handler.TurnTests.test_a_flood_delays_nobody",
            ),
            oddity(
                "O45",
                "What happens depends on whether debugging is switched on.",
                "Never.",
            ),
            oddity(
                "O46",
                "A write that finds its peer gone is told as an end.",
                "As an error.",
            ),
            oddity(
                "O47",
                "More bytes are done than were asked for.",
                "That cannot be.",
            ),
            oddity(
                "O48",
                "What is no TLS is found by letting TLS fail at it.",
                "By the first byte, before TLS has seen it.",
            ),
            oddity(
                "O49",
                "An end without close_notify looks like any other.",
                "It is told as EOS, with clean_shutdown false.",
                "sslvc_data.ReadTests.test_end_without_goodbye",
            ),
            oddity(
                "O50",
                "Addresses that a limit should not hold for are refused.",
                "They are let in, however many there are, and take nothing of what others may have.",
            ),
        ),
    ),
)
