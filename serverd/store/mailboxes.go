package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"secmsg/crypto/key"
)

const mailColumns = `device, class, message_id, sender, sender_device, accepted, expires, notice_reason, notice_recipient, notice_device, size, ciphertext`

// box is the state of one mailbox during an Append.
type box struct {
	envelopes int
	bytes     int64
	grown     bool
	err       error // ErrNotFound or ErrFull for all later mails
}

// Append stores mails in order with one commit.
func (s *SQLite) Append(ctx context.Context, mails []*Mail, limits MailboxLimits) ([]error, error) {
	if len(mails) == 0 {
		return nil, nil
	}
	results := make([]error, len(mails))
	rows := make([]int64, len(mails))
	err := s.write(ctx, "append mail", func(t *tx) error {
		boxes := make(map[key.DeviceID]*box)
		for i, m := range mails {
			b := boxes[m.Device]
			if b == nil {
				var err error
				if b, err = openBox(t, m.Device); err != nil {
					return err
				}
				boxes[m.Device] = b
			}
			var err error
			if rows[i], results[i], err = b.append(t, m, limits); err != nil {
				return err
			}
		}
		for id, b := range boxes {
			if !b.grown {
				continue
			}
			if _, err := t.exec(`INSERT INTO mailboxes (device, envelopes, bytes) VALUES (?, ?, ?)
				ON CONFLICT (device) DO UPDATE SET envelopes = excluded.envelopes, bytes = excluded.bytes`,
				id[:], b.envelopes, b.bytes); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, m := range mails {
		m.Row = rows[i]
	}
	return results, nil
}

func openBox(t *tx, device key.DeviceID) (*box, error) {
	b := new(box)
	var revoked bool
	err := t.get(`SELECT d.revoked, coalesce(b.envelopes, 0), coalesce(b.bytes, 0)
		FROM devices d LEFT JOIN mailboxes b ON b.device = d.id WHERE d.id = ?`, []any{device[:]}, &revoked, &b.envelopes, &b.bytes)
	if errors.Is(err, sql.ErrNoRows) || revoked {
		return &box{err: ErrNotFound}, nil
	}
	return b, err
}

// append stores one mail and returns its row, its result, and an error of the whole transaction.
func (b *box) append(t *tx, m *Mail, limits MailboxLimits) (row int64, result, err error) {
	if m.Request && !errors.Is(b.err, ErrNotFound) {
		var n int
		if err := t.get(`SELECT count(*) FROM request_devices WHERE device = ? AND sender = ?`, []any{m.Device[:], m.Sender}, &n); err != nil {
			return 0, nil, err
		}
		if n > 0 {
			return 0, nil, nil
		}
	}
	if b.err != nil {
		return 0, b.err, nil
	}
	size := int64(len(m.Ciphertext))
	if (limits.Envelopes > 0 && b.envelopes >= limits.Envelopes) || (limits.Bytes > 0 && b.bytes+size > limits.Bytes) {
		b.err = ErrFull
		return 0, b.err, nil
	}
	if m.Request {
		if _, err := t.exec(`INSERT INTO request_devices (device, sender, message_id) VALUES (?, ?, ?)`, m.Device[:], m.Sender, m.MessageID[:]); err != nil {
			return 0, nil, err
		}
	}
	row, err = t.insert(`INSERT INTO mails (`+mailColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		m.Device[:], m.Class, m.MessageID[:], m.Sender, m.SenderDevice[:], toMS(m.Accepted), toMS(m.Expires),
		m.NoticeReason, m.NoticeRecipient, m.NoticeDevice[:], size, blob(m.Ciphertext))
	b.envelopes++
	b.bytes += size
	b.grown = true
	return row, nil, err
}

func scanMail(row scan) (Mail, error) {
	var m Mail
	var size int
	err := row(&m.Row, &m.Account, deviceColumn{&m.Device}, &m.Class, idColumn{&m.MessageID}, &m.Sender, deviceColumn{&m.SenderDevice},
		timeColumn{&m.Accepted}, timeColumn{&m.Expires}, &m.NoticeReason, &m.NoticeRecipient, deviceColumn{&m.NoticeDevice}, &size, &m.Ciphertext)
	return m, err
}

// errEnough ends a listing early.
var errEnough = errors.New("enough")

const selectMail = `SELECT m.row, d.account, m.device, m.class, m.message_id, m.sender, m.sender_device, m.accepted, m.expires,
		m.notice_reason, m.notice_recipient, m.notice_device, m.size, m.ciphertext
	FROM mails m JOIN devices d ON d.id = m.device WHERE m.device = ? AND m.row > ? ORDER BY m.row LIMIT ?`

// Read returns a device's mails after a row, within limit and maxBytes, and at least one if there is
// one.
func (s *SQLite) Read(ctx context.Context, device key.DeviceID, after int64, limit, maxBytes int) ([]Mail, error) {
	var out []Mail
	bytes := 0
	err := s.list(ctx, selectMail,
		[]any{device[:], after, limit}, func(row scan) error {
			m, err := scanMail(row)
			if err != nil {
				return err
			}
			bytes += len(m.Ciphertext)
			if len(out) > 0 && bytes > maxBytes {
				return errEnough
			}
			out = append(out, m)
			return nil
		})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return out, mapError("read mailbox", err)
}

// Delete removes rows of devices.
func (s *SQLite) Delete(ctx context.Context, rows map[key.DeviceID][]int64) error {
	if len(rows) == 0 {
		return nil
	}
	return s.write(ctx, "delete mail", func(t *tx) error {
		for id, list := range rows {
			if err := deleteRows(t, id, list); err != nil {
				return err
			}
		}
		return nil
	})
}

func deleteRows(t *tx, device key.DeviceID, rows []int64) error {
	var envelopes int
	var bytes int64
	for _, row := range rows {
		var size int64
		err := t.get(`DELETE FROM mails WHERE row = ? AND device = ? RETURNING size`, []any{row, device[:]}, &size)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return err
		}
		envelopes++
		bytes += size
	}
	if envelopes == 0 {
		return nil
	}
	_, err := t.exec(`UPDATE mailboxes SET envelopes = envelopes - ?, bytes = bytes - ? WHERE device = ?`, envelopes, bytes, device[:])
	return err
}

// MailboxSize returns the number of waiting envelopes and their bytes; zero without a mailbox.
func (s *SQLite) MailboxSize(ctx context.Context, device key.DeviceID) (envelopes int, bytes int64, err error) {
	err = s.get(ctx, `SELECT envelopes, bytes FROM mailboxes WHERE device = ?`, []any{device[:]}, &envelopes, &bytes)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, 0, nil
	}
	return envelopes, bytes, mapError("mailbox size", err)
}

const selectExpired = `SELECT m.row, d.account, m.device, m.class, m.message_id, m.sender, m.sender_device, m.accepted, m.expires,
		m.notice_reason, m.notice_recipient, m.notice_device, m.size, x''
	FROM mails m JOIN devices d ON d.id = m.device WHERE m.expires < ? ORDER BY m.expires, m.row LIMIT ?`

// TakeExpired removes expired mails and leaves notices for their senders, in one transaction.
func (s *SQLite) TakeExpired(ctx context.Context, now time.Time, limit int) ([]Mail, error) {
	var n int
	if err := s.get(ctx, `SELECT count(*) FROM (SELECT 1 FROM mails WHERE expires < ? LIMIT 1)`, []any{toMS(now)}, &n); err != nil || n == 0 {
		return nil, mapError("take expired", err)
	}
	var out []Mail
	err := s.write(ctx, "take expired", func(t *tx) error {
		out = nil
		err := t.list(selectExpired,
			[]any{toMS(now), limit}, func(row scan) error {
				m, err := scanMail(row)
				out = append(out, m)
				return err
			})
		if err != nil {
			return err
		}
		rows := make(map[key.DeviceID][]int64)
		for _, m := range out {
			rows[m.Device] = append(rows[m.Device], m.Row)
			if err := notice(t, m, NoticeExpired, now); err != nil {
				return err
			}
		}
		for id, list := range rows {
			if err := deleteRows(t, id, list); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// dropAtOnce is how many mails of a device are deleted together with it.
const dropAtOnce = 100

const queryDropped = `SELECT row, class, message_id, sender_device FROM mails WHERE device = ? ORDER BY row LIMIT ?`

// dropMail removes up to limit mails of a removed device, notifies the senders of durable ones, and
// reports whether there may be more.
func dropMail(t *tx, account string, device key.DeviceID, now time.Time, limit int) (more bool, err error) {
	var waiting []Mail
	err = t.list(queryDropped, []any{device[:], limit}, func(row scan) error {
		m := Mail{Account: account, Device: device}
		err := row(&m.Row, &m.Class, idColumn{&m.MessageID}, deviceColumn{&m.SenderDevice})
		waiting = append(waiting, m)
		return err
	})
	if err != nil {
		return false, err
	}
	for _, m := range waiting {
		if err := notice(t, m, NoticeDeviceGone, now); err != nil {
			return false, err
		}
		if _, err := t.exec(`DELETE FROM mails WHERE row = ?`, m.Row); err != nil {
			return false, err
		}
	}
	return len(waiting) == limit, nil
}

// DropMail removes mail of a removed device, and reports whether there may be more.
func (s *SQLite) DropMail(ctx context.Context, now time.Time, limit int) (more bool, err error) {
	var waits bool
	if err := s.get(ctx, `SELECT EXISTS (SELECT 1 FROM dropped)`, nil, &waits); err != nil || !waits {
		return false, mapError("drop mail", err)
	}
	err = s.write(ctx, "drop mail", func(t *tx) error {
		var device key.DeviceID
		var account string
		err := t.get(`SELECT device, account FROM dropped LIMIT 1`, nil, deviceColumn{&device}, &account)
		if errors.Is(err, sql.ErrNoRows) {
			more = false
			return nil
		}
		if err != nil {
			return err
		}
		if more, err = dropMail(t, account, device, now, limit); err != nil || more {
			return err
		}
		more = true // of another device
		_, err = t.exec(`DELETE FROM dropped WHERE device = ?`, device[:])
		return err
	})
	return more && err == nil, err
}

// notice leaves a row for the sender's device that reports the outcome of m.
func notice(t *tx, m Mail, reason uint8, now time.Time) error {
	if m.Class != ClassDurable {
		return nil
	}
	b, err := openBox(t, m.SenderDevice)
	if err != nil || b.err != nil {
		return err
	}
	n := &Mail{
		Device: m.SenderDevice, Class: ClassNotice, MessageID: m.MessageID,
		Accepted: now, Expires: now.Add(NoticeRetention),
		NoticeReason: reason, NoticeRecipient: m.Account, NoticeDevice: m.Device,
	}
	if _, _, err := b.append(t, n, MailboxLimits{}); err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO mailboxes (device, envelopes, bytes) VALUES (?, 1, 0) ON CONFLICT (device) DO UPDATE SET envelopes = envelopes + 1`, m.SenderDevice[:])
	return err
}

// noticedPage bounds one result of Noticed; callers continue from the last row.
const noticedPage = 10_000

// Without the index hint the planner reads all mail above the row.
const selectNoticed = `SELECT row, device FROM mails INDEXED BY mails_notice WHERE class = 4 AND row > ? ORDER BY row LIMIT ?`

// Noticed returns the devices that received one of the next 10,000 notices above a row, and the highest
// such row.
func (s *SQLite) Noticed(ctx context.Context, after int64) ([]key.DeviceID, int64, error) {
	var ids []key.DeviceID
	seen := make(map[key.DeviceID]struct{})
	last := after
	err := s.list(ctx, selectNoticed, []any{after, noticedPage}, func(row scan) error {
		var id key.DeviceID
		if err := row(&last, deviceColumn{&id}); err != nil {
			return err
		}
		if _, twice := seen[id]; !twice {
			seen[id] = struct{}{}
			ids = append(ids, id)
		}
		return nil
	})
	return ids, last, mapError("noticed", err)
}
