package local

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
)

// CallStreams are the caller's own ends of the media that are "-".
type CallStreams struct {
	AudioIn, VideoIn   io.Reader
	AudioOut, VideoOut io.Writer
}

// StartCall calls a peer on a connection of its own and returns when the call
// has ended. events gets each change of state and each second the statistics; it
// may be nil. When ctx ends, or a stream fails, the daemon sees the caller leave
// and hangs up. The goroutines that read sources end with the read that they
// are in.
func (c *Client) StartCall(ctx context.Context, p CallStartParams, s CallStreams, events func(Event)) (Call, error) {
	return c.carryCall(ctx, MethodCallStart, p, s, events)
}

// AnswerCall takes a call, as StartCall makes one.
func (c *Client) AnswerCall(ctx context.Context, p CallAnswerParams, s CallStreams, events func(Event)) (Call, error) {
	return c.carryCall(ctx, MethodCallAnswer, p, s, events)
}

// RejectCall declines a call that rings.
func (c *Client) RejectCall(ctx context.Context, p CallIDParams) (Call, error) {
	return call[Call](ctx, c, MethodCallReject, p)
}

// HangupCall ends a call.
func (c *Client) HangupCall(ctx context.Context, p CallIDParams) (Call, error) {
	return call[Call](ctx, c, MethodCallHangup, p)
}

// ListCalls lists calls that have ended, oldest first.
func (c *Client) ListCalls(ctx context.Context, p CallListParams) (Events, error) {
	return call[Events](ctx, c, MethodCallList, p)
}

// CallStatus lists the calls that have not ended.
func (c *Client) CallStatus(ctx context.Context, account string) (Calls, error) {
	return call[Calls](ctx, c, MethodCallStatus, AccountParam{Account: account})
}

// MuteCall stops or continues the own sound.
func (c *Client) MuteCall(ctx context.Context, p CallIDParams, on bool) (Call, error) {
	if on {
		return call[Call](ctx, c, MethodCallMute, p)
	}
	return call[Call](ctx, c, MethodCallUnmute, p)
}

// Camera stops or continues the own pictures.
func (c *Client) Camera(ctx context.Context, p CallCameraParams) (Call, error) {
	return call[Call](ctx, c, MethodCallCamera, p)
}

func (c *Client) carryCall(ctx context.Context, method string, params any, s CallStreams, events func(Event)) (Call, error) {
	var out Call
	t, err := c.transfer(ctx, nil)
	if err != nil {
		return out, err
	}
	defer t.close()
	if err := t.request(method, params); err != nil {
		return out, t.cause(ctx, err)
	}
	k := &callCarrier{transfer: t, events: events, outputs: map[string]io.Writer{StreamAudioOut: s.AudioOut, StreamVideoOut: s.VideoOut}}
	// A source is read only once the call is connected: what is read before would
	// be old when it is heard. The daemon's back pressure does that.
	for name, r := range map[string]io.Reader{StreamAudioIn: s.AudioIn, StreamVideoIn: s.VideoIn} {
		if r != nil {
			k.inputs = append(k.inputs, callInput{name, r})
		}
	}
	err = k.answer(method, &out)
	return out, t.cause(ctx, err)
}

type callInput struct {
	name string
	r    io.Reader
}

// callCarrier is the client's end of a connection that carries one call.
type callCarrier struct {
	*transfer
	events  func(Event)
	outputs map[string]io.Writer
	inputs  []callInput
	begin   sync.Once
}

// answer takes what the daemon sends until its answer.
func (k *callCarrier) answer(method string, result *Call) error {
	for {
		f, err := readFrame(k.r)
		if err != nil {
			return lostError(err)
		}
		switch f.Method {
		case "":
			return f.decode(method, result)
		case NotifyCall:
			var e Event
			if err := json.Unmarshal(f.Params, &e); err != nil || e.Call == nil {
				continue
			}
			if e.Call.State == CallConnected {
				k.begin.Do(k.feedAll)
			}
			if k.events != nil {
				k.events(e)
			}
		case NotifyCallData:
			var d CallData
			if err := json.Unmarshal(f.Params, &d); err != nil || d.Length < 1 || d.Length > MaxCallData || k.outputs[d.Stream] == nil {
				return Errorf(CodeInternal, "the daemon sent media that were not asked for")
			}
			b := k.buf[:d.Length]
			if _, err := io.ReadFull(k.r, b); err != nil {
				return lostError(err)
			}
			if _, err := k.outputs[d.Stream].Write(b); err != nil {
				k.breakOff(err)
				return err
			}
		}
		// Notifications that this version does not know are passed over.
	}
}

func (k *callCarrier) feedAll() {
	for _, in := range k.inputs {
		go k.feedStream(in)
	}
}

// feedStream sends one source, in pieces that keep its delay small.
func (k *callCarrier) feedStream(in callInput) {
	buf := make([]byte, callPiece)
	for {
		n, err := in.r.Read(buf)
		if n > 0 {
			params, jerr := json.Marshal(CallData{Stream: in.name, Length: n})
			if jerr != nil || k.line(Request{Version: rpcVersion, Method: NotifyCallData, Params: params}, buf[:n]) != nil {
				return // the answer, or its absence, says why
			}
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, io.EOF) {
			k.breakOff(err)
			return
		}
		if params, err := json.Marshal(CallEnd{Stream: in.name}); err == nil {
			_ = k.line(Request{Version: rpcVersion, Method: NotifyCallEnd, Params: params}, nil)
		}
		return
	}
}

// callPiece is the most that is read of a source at once, in bytes.
const callPiece = 16 << 10
