r"""The cases of the conformance kit, one module for each subject.

How to add a case
-----------------

A case is a method of the subject's class::

    class PublishCases:
        @case("publish.payload_bytes")
        def payload_bytes(self, kit: Kit) -> None:
            '''A payload that is no UTF-8 arrives whole (MQTT 5 section 3.3.3).'''
            client = kit.connect()
            observer = kit.observer(kit.topic)
            client.publish(kit.topic, b"\xff\xfe", qos=1).wait(kit.patience)
            assert observer.message().payload == b"\xff\xfe"

*The identifier* is ``subject.name`` and never changes once released: ``known_failures`` and reports hold it.
The method has the same name. *The docstring* is the rule, not the procedure, in one sentence, with the
section of the specification. The level follows from the subject (``level=`` overrides it).

*Where it runs*: by default on the fault broker without a script, on a real broker (Mosquitto or
``--mqtt-url``) and, for an in-process backend, on its own. Only what holds on every correct broker may be
asserted then; for a look at the wire where there is a record, ask ``kit.records_wire``. ``on=FAULTS`` is for
a case that uses the script or the record of ``kit.broker``; ``on=NONE`` for one without a broker.

*What it needs*: ``needs="mqtt_5"`` (or several) names capabilities. For a backend that lacks one, the case
is replaced by a check that using it raises NotSupportedError. One that shows in what a client receives cannot
be refused: there ``without=look`` names a function that is tried in the place of the case, and fails if the
backend has what it does not declare. Whatever may differ between backends without
being wrong does not belong in the contract. With ``needs="mqtt_5"`` the clients speak MQTT 5 unless told
otherwise; ``kit.protocol`` says which version they speak.

*What it has in its hands* is :class:`~juham_core.testing.kit.Kit`: ``kit.connect(**options)`` and
``kit.create(**options)`` make clients of the backend under test, ``kit.observer(*filters)`` the kit's own
client, ``kit.inbox(client, filter)`` and ``kit.recorder()`` handlers that can be waited for, ``kit.topic``
is the trial's own topic. All of it is closed when the case ends, and then no thread, socket, task, file or
uncaught exception may be left.

*Waiting*: for events (``receipt.wait``, ``inbox.next``, ``observer.message``, ``kit.broker.wait_for``,
``rule.wait``), each with ``kit.patience``; ``kit.eventually`` for a state that nothing announces. Never
sleep. That something does *not* happen is shown by something else that comes after it: ``observer.drain()``
asks the broker for one more message; a second publish on the same connection overtakes nothing. Only where
there is no such thing may a case wait for a time, well under a second.

*A script* is set before the client connects::

    kit.broker.on("publish", nth=3).reset()                # as the third PUBLISH arrives
    kit.broker.before("puback", nth=1).withhold()          # acknowledged, but the client never hears it
    kit.broker.on("connect", connection=2).silence()       # the second connection is half-open
    kit.broker.on("subscribe").answer(Suback(0, [0x80]))   # packet_id 0: that of the SUBSCRIBE
    kit.broker.refuse(); kit.broker.accept()               # close the port and open it again
    kit.broker.send(b"garbage"); kit.broker.reset()        # here and now

and the record is asked with ``kit.broker.wait_for("publish", nth=2)`` (the packet) or
``kit.broker.packets("subscribe", connection=2)`` (a list); ``sent=True`` for what the broker sent.

*A case must be able to fail*: it comes with a mutant (``tests/kit/mutants.py``), a backend that breaks this
rule in a few lines, and the kit's own tests see to it that the case catches the mutant and that the correct
toy passes.
"""
