package loadgen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/gorilla/websocket"

	"secmsg/rpc/wire"
)

// openTimeout bounds the opening of a connection.
const openTimeout = 20 * time.Second

// DialWebSocket opens a WebSocket on this machine without verifying the certificate, with buffers small
// enough for thousands of connections. An empty bearer means none.
func DialWebSocket(ctx context.Context, url, bearer string) (*websocket.Conn, error) {
	header := http.Header{protocolHeader: {strconv.Itoa(wire.ProtocolVersion)}}
	if bearer != "" {
		header.Set("Authorization", "Bearer "+bearer)
	}
	d := websocket.Dialer{TLSClientConfig: unchecked(), HandshakeTimeout: openTimeout, ReadBufferSize: 4096, WriteBufferSize: 4096}
	ws, resp, err := d.DialContext(ctx, url, header)
	if err != nil {
		if resp != nil {
			text, _ := io.ReadAll(io.LimitReader(resp.Body, 1024)) // only to explain err
			return nil, fmt.Errorf("open %s: %w: %s %s", url, err, resp.Status, text)
		}
		return nil, fmt.Errorf("open %s: %w", url, err)
	}
	ws.SetReadLimit(wire.MaxFrame)
	return ws, nil
}

func (d *Device) open(ctx context.Context, role wire.Role) (*websocket.Conn, error) {
	token, err := d.Token(ctx, role)
	if err != nil {
		return nil, err
	}
	return DialWebSocket(ctx, "wss://"+d.realm.addr+"/v1/"+string(role), token)
}

// OpenContact opens the contact connection and completes the fence exchange. It returns the confirmed
// value, which the device keeps. Only one goroutine opens the connections of a device.
func (d *Device) OpenContact(ctx context.Context) (*websocket.Conn, []byte, error) {
	ws, err := d.open(ctx, wire.RoleContact)
	if err != nil {
		return nil, nil, err
	}
	value, err := passFence(ws, d.fence)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("fence of %s: %w", d.Name, err), ws.Close())
	}
	d.fence = value
	return ws, value, nil
}

func passFence(ws *websocket.Conn, stored []byte) ([]byte, error) {
	var f wire.ContactServer
	err := ask(ws, &wire.ContactClient{Frame: &wire.ContactClient_Fence{Fence: &wire.Fence{Value: stored, Protocol: wire.ProtocolVersion}}}, &f)
	if err != nil {
		return nil, err
	}
	value := f.GetIssued().GetValue()
	if len(value) == 0 {
		return nil, fmt.Errorf("no fence value in %v", &f)
	}
	err = ask(ws, &wire.ContactClient{Frame: &wire.ContactClient_Confirm{Confirm: &wire.FenceConfirm{Value: value}}}, &f)
	if err == nil && f.GetConfirmed() == nil {
		err = fmt.Errorf("fence not confirmed: %v", &f)
	}
	return value, err
}

// OpenReplica opens the replica connection with the confirmed fence value.
func (d *Device) OpenReplica(ctx context.Context, value []byte) (*websocket.Conn, error) {
	ws, err := d.open(ctx, wire.RoleReplica)
	if err != nil {
		return nil, err
	}
	var f wire.ReplicaServer
	err = ask(ws, &wire.ReplicaClient{Frame: &wire.ReplicaClient_Open{Open: &wire.ReplicaOpen{Value: value, Protocol: wire.ProtocolVersion}}}, &f)
	if err == nil && f.GetOpened() == nil {
		err = fmt.Errorf("not opened: %v", &f)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("replica of %s: %w", d.Name, err), ws.Close())
	}
	return ws, nil
}

// ask sends one frame and reads the next.
func ask[Q, A wire.Frame](ws *websocket.Conn, q Q, a A) error {
	if err := write(ws, q); err != nil {
		return err
	}
	return read(ws, a)
}

func write[F wire.Frame](ws *websocket.Conn, f F) error {
	b, err := wire.Marshal(f)
	if err != nil {
		return err
	}
	if err := ws.WriteMessage(websocket.BinaryMessage, b); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	return nil
}

func read[F wire.Frame](ws *websocket.Conn, f F) error {
	_, b, err := ws.ReadMessage()
	if err != nil {
		return fmt.Errorf("read frame: %w", err)
	}
	return wire.Unmarshal(b, f)
}
