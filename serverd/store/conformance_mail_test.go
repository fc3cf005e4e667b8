package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"secmsg/crypto/key"
)

func mailTo(d Device, id byte, text string) *Mail {
	return &Mail{
		Account: d.Account, Device: d.ID, MessageID: [16]byte{id}, Class: ClassDurable, Sender: "someone",
		Accepted: epoch(), Expires: epoch().Add(time.Hour), Ciphertext: []byte(text),
	}
}

func mailFrom(from, to Device, id byte, text string) *Mail {
	m := mailTo(to, id, text)
	m.Sender, m.SenderDevice = from.Account, from.ID
	return m
}

// texts reads a whole mailbox.
func texts(t *testing.T, s Store, d Device) string {
	t.Helper()
	mails, err := s.Read(ctxOf(t), d.ID, 0, 10_000, 1<<30)
	must(t, err)
	out := make([]string, len(mails))
	for i, m := range mails {
		out[i] = string(m.Ciphertext)
		if m.Class == ClassNotice {
			out[i] = fmt.Sprintf("notice(%d,%d,%s)", m.MessageID[0], m.NoticeReason, m.NoticeRecipient)
		}
	}
	return strings.Join(out, " ")
}

func testMailbox(t *testing.T, open opener) {
	s, ctx := open(t, t.TempDir()), ctxOf(t)
	alice, bob := account(t, s, "alice"), account(t, s, "bob")
	mails := []*Mail{mailFrom(bob, alice, 1, "one"), mailFrom(alice, bob, 2, "b"), mailFrom(bob, alice, 3, "two"), mailFrom(bob, alice, 4, "three")}
	unknown := mailTo(newDevice("x", "x"), 5, "lost")
	res, err := s.Append(ctx, append(mails, unknown), MailboxLimits{})
	must(t, err)
	for _, r := range res[:4] {
		must(t, r)
	}
	want(t, res[4], ErrNotFound)
	equal(t, "row of a refused mail", unknown.Row, 0)
	page, err := s.Read(ctx, alice.ID, mails[0].Row, 1, 1<<20)
	must(t, err)
	equal(t, "page", fmt.Sprint(page), fmt.Sprint([]Mail{*mails[2]}))
	page, err = s.Read(ctx, alice.ID, 0, 10, 6)
	must(t, err)
	equal(t, "page by bytes", len(page), 2)
	page, err = s.Read(ctx, alice.ID, 0, 10, 1)
	must(t, err)
	equal(t, "at least one", len(page), 1)
	n, bytes, err := s.MailboxSize(ctx, alice.ID)
	must(t, err)
	equal(t, "size", fmt.Sprint(n, bytes), "3 11")
}

func testMailboxLimits(t *testing.T, open opener) {
	s, ctx := open(t, t.TempDir()), ctxOf(t)
	alice, bob := account(t, s, "alice"), account(t, s, "bob")
	limits := MailboxLimits{Envelopes: 3, Bytes: 10}
	// After the first refusal even a mail that would fit is refused, which keeps the order.
	mails := []*Mail{mailTo(alice, 1, "12345"), mailTo(alice, 2, "123456"), mailTo(bob, 3, "1"), mailTo(alice, 4, "1")}
	res, err := s.Append(ctx, mails, limits)
	must(t, err)
	must(t, res[0])
	want(t, res[1], ErrFull)
	must(t, res[2])
	want(t, res[3], ErrFull)
	for i := range 2 {
		res, err = s.Append(ctx, []*Mail{mailTo(alice, byte(5+i), "1")}, limits)
		must(t, err)
		must(t, res[0])
	}
	res, err = s.Append(ctx, []*Mail{mailTo(alice, 7, "")}, limits)
	must(t, err)
	want(t, res[0], ErrFull)
	must(t, s.Delete(ctx, map[key.DeviceID][]int64{alice.ID: {mails[0].Row, mails[0].Row}}))
	n, bytes, err := s.MailboxSize(ctx, alice.ID)
	must(t, err)
	equal(t, "size after delete", fmt.Sprint(n, bytes), "2 2")
	res, err = s.Append(ctx, []*Mail{mailTo(alice, 8, "12345678")}, limits)
	must(t, err)
	must(t, res[0])
}

func testMailboxAcks(t *testing.T, open opener) {
	s, ctx := open(t, t.TempDir()), ctxOf(t)
	alice, mallory := account(t, s, "alice"), account(t, s, "mallory")
	m := mailTo(alice, 1, "hers")
	_, err := s.Append(ctx, []*Mail{m}, MailboxLimits{})
	must(t, err)
	must(t, s.Delete(ctx, map[key.DeviceID][]int64{mallory.ID: {m.Row, -1, 0, 1 << 62}}))
	equal(t, "mailbox after another device's delete", texts(t, s, alice), "hers")
	n, _, err := s.MailboxSize(ctx, mallory.ID)
	must(t, err)
	equal(t, "count of the other device", n, 0)
}

func testMailboxConcurrently(t *testing.T, open opener) {
	s, ctx := open(t, t.TempDir()), ctxOf(t)
	alice := account(t, s, "alice")
	const limit = 150
	full := 0
	for _, err := range each(200, func(i int) error {
		res, err := s.Append(ctx, []*Mail{mailTo(alice, byte(i), "x")}, MailboxLimits{Envelopes: limit})
		return errors.Join(append(res, err)...)
	}) {
		if err != nil {
			want(t, err, ErrFull)
			full++
		}
	}
	equal(t, "refused", full, 200-limit)
	mails, err := s.Read(ctx, alice.ID, 0, 1000, 1<<20)
	must(t, err)
	equal(t, "stored", len(mails), limit)
	for i := 1; i < len(mails); i++ {
		if mails[i].Row <= mails[i-1].Row {
			t.Fatal("row numbers do not increase")
		}
	}
}

func testRequests(t *testing.T, open opener) {
	s, ctx := open(t, t.TempDir()), ctxOf(t)
	alice, bob := account(t, s, "alice"), account(t, s, "bob")
	may := func(id byte) bool {
		t.Helper()
		ok, err := s.AddRequest(ctx, "bob", "alice", [16]byte{id})
		must(t, err)
		return ok
	}
	won := 0
	for _, err := range each(20, func(i int) error {
		ok, err := s.AddRequest(ctx, "carol", "alice", [16]byte{byte(i)})
		if err == nil && !ok {
			err = ErrConflict
		}
		return err
	}) {
		if err == nil {
			won++
		}
	}
	equal(t, "requests of one stranger", won, 1)
	equal(t, "first, other, first again", fmt.Sprint(may(1), may(2), may(1)), "true false true")
	m := mailFrom(bob, alice, 1, "hello")
	m.Request = true
	for range 3 {
		retry := *m
		res, err := s.Append(ctx, []*Mail{&retry}, MailboxLimits{})
		must(t, err)
		must(t, res[0])
	}
	equal(t, "mailbox after retries", texts(t, s, alice), "hello")
	// Accepting removes the request.
	must(t, s.SetRelation(ctx, "alice", "bob", RelationContact))
	must(t, s.SetRelation(ctx, "alice", "bob", RelationNone))
	equal(t, "anew", fmt.Sprint(may(2), may(1)), "true false")
}

func testExpiry(t *testing.T, open opener) {
	s, ctx := open(t, t.TempDir()), ctxOf(t)
	alice, bob := account(t, s, "alice"), account(t, s, "bob")
	old, kept := mailFrom(bob, alice, 1, "old"), mailFrom(bob, alice, 2, "kept")
	old.Expires = epoch()
	_, err := s.Append(ctx, []*Mail{old, kept}, MailboxLimits{})
	must(t, err)
	gone, err := s.TakeExpired(ctx, epoch(), 10)
	must(t, err)
	equal(t, "expired too early", len(gone), 0)
	gone, err = s.TakeExpired(ctx, epoch().Add(time.Second), 10)
	must(t, err)
	equal(t, "expired", len(gone), 1)
	equal(t, "expired mail", fmt.Sprint(gone[0].Account, gone[0].MessageID[0], gone[0].Row == old.Row), "alice1 true")
	equal(t, "left", texts(t, s, alice), "kept")
	equal(t, "notice", texts(t, s, bob), fmt.Sprintf("notice(1,%d,alice)", NoticeExpired))
	who, last, err := s.Noticed(ctx, 0)
	must(t, err)
	equal(t, "noticed", len(who) == 1 && who[0] == bob.ID && last > kept.Row, true)
	who, again, err := s.Noticed(ctx, last)
	must(t, err)
	equal(t, "noticed later", len(who) == 0 && again == last, true)
	// An expired notice causes no notice.
	gone, err = s.TakeExpired(ctx, epoch().Add(2*NoticeRetention), 10)
	must(t, err)
	equal(t, "expired in the end", len(gone), 2)
	n, bytes, err := s.MailboxSize(ctx, alice.ID)
	must(t, err)
	equal(t, "size", fmt.Sprint(n, bytes), "0 0")
}

func testDeviceGone(t *testing.T, open opener) {
	s, ctx := open(t, t.TempDir()), ctxOf(t)
	alice, bob := account(t, s, "alice"), account(t, s, "bob")
	next := newDevice("alice", "next")
	m := Manifest{Version: 2, Hash: hash("alice", "2"), Signed: []byte("m"), Devices: []Device{next}}
	_, err := s.Append(ctx, []*Mail{mailFrom(bob, alice, 1, "a"), mailFrom(bob, alice, 2, "b"), mailFrom(next, alice, 3, "c"), mailFrom(alice, bob, 4, "to bob")}, MailboxLimits{})
	must(t, err)
	must(t, s.PutManifest(ctx, "alice", hash("alice", "1"), m, epoch()))
	equal(t, "sender", texts(t, s, bob), fmt.Sprintf("to bob notice(1,%d,alice) notice(2,%d,alice)", NoticeDeviceGone, NoticeDeviceGone))
	n, _, err := s.MailboxSize(ctx, bob.ID)
	must(t, err)
	equal(t, "sender's count", n, 3)
	n, _, err = s.MailboxSize(ctx, alice.ID)
	must(t, err)
	equal(t, "dropped mailbox", n, 0)
	// The same with an account; for notices themselves nobody is notified.
	_, err = s.Append(ctx, []*Mail{mailFrom(next, bob, 5, "late")}, MailboxLimits{})
	must(t, err)
	must(t, s.DeleteAccount(ctx, "bob"))
	equal(t, "sender of the deleted account", texts(t, s, next), fmt.Sprintf("notice(5,%d,bob)", NoticeDeviceGone))
}

// testDropMail removes devices whose mailboxes are too large for one transaction: every sender gets a
// notice for every mail, in steps.
func testDropMail(t *testing.T, open opener) {
	dir := t.TempDir()
	s, ctx := open(t, dir), ctxOf(t)
	alice, bob, carol := account(t, s, "alice"), account(t, s, "bob"), account(t, s, "carol")
	const each = 2*dropAtOnce + 30
	for _, to := range []Device{alice, carol} {
		var mails []*Mail
		for i := range each {
			m := mailFrom(bob, to, 0, "x")
			m.MessageID = [16]byte{byte(i), byte(i >> 8), to.ID[0]}
			mails = append(mails, m)
		}
		_, err := s.Append(ctx, mails, MailboxLimits{})
		must(t, err)
	}
	told := func() int {
		t.Helper()
		list, err := s.Read(ctx, bob.ID, 0, 10_000, 1<<30)
		must(t, err)
		return len(list)
	}
	must(t, s.PutManifest(ctx, "alice", hash("alice", "1"), Manifest{Version: 2, Hash: hash("alice", "2"), Signed: []byte("m"), Devices: []Device{newDevice("alice", "next")}}, epoch()))
	equal(t, "told with the device", told(), dropAtOnce)
	n, _, err := s.MailboxSize(ctx, alice.ID)
	must(t, err)
	equal(t, "mailbox of a device that is gone", n, 0)
	must(t, s.DeleteAccount(ctx, "carol"))
	equal(t, "told with the account", told(), 2*dropAtOnce)
	must(t, s.Close())

	s = open(t, dir) // the rest is not forgotten
	before, steps := told(), 0
	for more := true; more; steps++ {
		more, err = s.DropMail(ctx, epoch(), 50)
		must(t, err)
		if now := told(); now-before > 50 {
			t.Fatalf("%d mails in one step", now-before)
		} else {
			before = now
		}
	}
	equal(t, "told in the end", told(), 2*each)
	for _, d := range []Device{alice, carol} {
		left, err := s.Read(ctx, d.ID, 0, 10_000, 1<<30)
		must(t, err)
		equal(t, "left", len(left), 0)
	}
	if steps > 12 {
		t.Errorf("%d steps", steps)
	}
	more, err := s.DropMail(ctx, epoch(), 50)
	must(t, err)
	equal(t, "more", more, false)
	must(t, s.Close())
}
