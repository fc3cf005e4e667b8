// Package engine delivers the messages of one account: it turns the user's sends
// into sealed envelopes, and envelopes that arrive into history, events and
// receipts, so that the promises of delivery hold (rpc/DELIVERY.md): nothing that
// was accepted is lost, nothing is shown twice, and every state is true.
//
// One actor goroutine owns an account's state in memory. Everything that must
// survive is in the store: rows that belong together change in one transaction.
// There is never a network call inside a transaction: workers, which the actor
// starts, make those calls and bring the results back to it. All methods are safe
// for concurrent use while Run runs; Run returns after every goroutine of the
// engine has ended.
//
// # Outbound flow: a message that the user sends
//
//  1. Engine.Submit checks the parameters and hands a job to the actor. While the
//     profile is locked, Engine.queueLocked keeps the message aside instead.
//  2. actor.commit carries out the jobs that wait, in one transaction:
//     Engine.queue writes the message and its event (history.AddOwn) and the
//     outbox row (Engine.enqueue). The state is "queued"; the caller has its id.
//  3. Engine.pump, while the contact connection is up and window.room is left,
//     reads queued rows.
//  4. Engine.sealRows asks trust.CheckSend for the devices of the recipient. If
//     their keys or manifest are missing, Engine.ask asks the server in a worker,
//     and the pump comes back to the message later; Engine.hold keeps a message
//     that needs a decision of the user.
//  5. sealing.sealFor draws the message's number, sealing.sealOne calls
//     keyring.Seal and stores the ciphertext, all in the same transaction.
//  6. window.add takes the envelope. Engine.transmit hands those that
//     window.sendable returns to Engine.sendLoop, and it to the link.
//  7. The relay's answers come to Engine.Results. Engine.recordAnswers stores the
//     final ones; window.answer frees the window, or stops the pair of devices after a
//     temporary refusal, to go back to the refused envelope after a pause.
//  8. Engine.settle moves the message on when all its envelopes are answered:
//     "accepted", "failed" or "expired".
//  9. On each new connection Engine.Up has window.restart send everything that is
//     not answered again, with the same ciphertext.
//  10. A receipt of the recipient (Engine.receipt) moves the message to
//     "delivered" or "read".
//
// # Inbound flow: an envelope for this device
//
//  1. The link calls Engine.Deliver with a batch, which joins a transaction with
//     others (actor.share).
//  2. Engine.receive handles one envelope: Engine.parse checks the header, and
//     Engine.contain sets a savepoint, so that one bad envelope undoes nothing else.
//     Notices of the server and probes end here.
//  3. Engine.open recognises duplicates by sender and id, and asks
//     trust.CheckReceive whether the sender's device may send.
//  4. Engine.unseal calls keyring.Open, which advances the ratchet.
//  5. An envelope that does not open is parked (Engine.park) and asked for again
//     (Engine.askAgain); one of a sender whose key has changed is quarantined
//     (Engine.quarantine); others are counted and dropped (Engine.drop).
//  6. Engine.dispatch marks the id as seen and goes by the kind of the content.
//  7. Engine.message stores a text or a file: its number, which shows gaps,
//     history.AddReceived for rows and events, and the receipt that is now owed.
//  8. After the commit Engine.Deliver returns, and the link acknowledges the
//     batch. The journal wakes its subscribers.
//  9. Engine.queueReceipts sends the receipts after a short random delay, as
//     messages of their own.
package engine
