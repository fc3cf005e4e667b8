package bus

import (
	"context"
	"fmt"
	"sync"

	"secmsg/crypto/key"
)

// hold is one Hold. Its address distinguishes it from a later one.
type hold struct{ node string }

// Memory is a bus inside one process.
type Memory struct {
	mu        sync.Mutex // guards below
	holders   map[key.DeviceID]*hold
	listeners map[string]func(key.DeviceID)
}

var _ Bus = (*Memory)(nil)

// NewMemory returns a bus for the nodes in this process.
func NewMemory() *Memory {
	return &Memory{holders: make(map[key.DeviceID]*hold), listeners: make(map[string]func(key.DeviceID))}
}

// Hold records that node holds the device's session.
func (m *Memory) Hold(_ context.Context, device key.DeviceID, node string) (func(), error) {
	h := &hold{node: node}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.holders[device] = h
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.holders[device] == h {
			delete(m.holders, device)
		}
	}, nil
}

// Holder returns the node that holds the device's session, or "" if none does.
func (m *Memory) Holder(_ context.Context, device key.DeviceID) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h := m.holders[device]; h != nil {
		return h.node, nil
	}
	return "", nil
}

// Wake calls the holder's listener.
func (m *Memory) Wake(_ context.Context, device key.DeviceID) error {
	m.mu.Lock()
	var wake func(key.DeviceID)
	if h := m.holders[device]; h != nil {
		wake = m.listeners[h.node]
	}
	m.mu.Unlock()
	if wake != nil {
		wake(device)
	}
	return nil
}

// Listen registers node's listener.
func (m *Memory) Listen(_ context.Context, node string, wake func(key.DeviceID)) (func(), error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.listeners[node] != nil {
		return nil, fmt.Errorf("listen as %q: %w", node, ErrNode)
	}
	m.listeners[node] = wake
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.listeners, node)
	}, nil
}
