package store

// DeviceRemoved records that the newest manifest does not list a device. ms is profile
// time; the first time is kept.
func (tx *Tx) DeviceRemoved(d DeviceRef, ms int64) error {
	return tx.exec(`INSERT INTO removed (account, peer, device, at_ms) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		d.Account, d.Peer, d.Device[:], ms)
}

// DeviceListed records that the newest manifest lists a device.
func (tx *Tx) DeviceListed(d DeviceRef) error {
	return tx.exec(`DELETE FROM removed WHERE account = ? AND peer = ? AND device = ?`, d.Account, d.Peer, d.Device[:])
}

// Removed returns when this device learned that a device was removed, or ErrNotFound.
func (tx *Tx) Removed(d DeviceRef) (int64, error) {
	var ms int64
	err := tx.get(`SELECT at_ms FROM removed WHERE account = ? AND peer = ? AND device = ?`, []any{d.Account, d.Peer, d.Device[:]}, &ms)
	return ms, err
}

// ForgetRemoved deletes the sessions with devices that were removed up to ms.
func (tx *Tx) ForgetRemoved(account AccountID, ms int64) error {
	var gone []DeviceRef
	err := tx.each(`SELECT peer, device FROM removed WHERE account = ? AND at_ms <= ?`, []any{account, ms}, func(scan func(...any) error) error {
		d := DeviceRef{Account: account}
		var device []byte
		if err := scan(&d.Peer, &device); err != nil {
			return err
		}
		copy(d.Device[:], device)
		gone = append(gone, d)
		return nil
	})
	if err != nil {
		return err
	}
	for _, d := range gone {
		if err := tx.DeleteSessions(d); err != nil {
			return err
		}
		if err := tx.DeviceListed(d); err != nil {
			return err
		}
	}
	return nil
}
