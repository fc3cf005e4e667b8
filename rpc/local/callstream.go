package local

import (
	"context"
	"encoding/json"
	"errors"
	"io"
)

// CallStreams are the caller's ends of the media named "-".
type CallStreams struct {
	AudioIn, VideoIn   io.Reader
	AudioOut, VideoOut io.Writer
}

// StartCall calls a peer on its own connection and returns when the call has ended. events receives
// each change of state, and the statistics once a second; it may be nil. When ctx ends or a stream
// fails, the connection closes and the daemon hangs up. A goroutine that reads a source ends with its
// current read.
func (c *Client) StartCall(ctx context.Context, p CallStartParams, s CallStreams, events func(Event)) (Call, error) {
	return c.carryCall(ctx, MethodCallStart, p, s, events)
}

// AnswerCall answers a call. Its parameters work as in StartCall.
func (c *Client) AnswerCall(ctx context.Context, p CallAnswerParams, s CallStreams, events func(Event)) (Call, error) {
	return c.carryCall(ctx, MethodCallAnswer, p, s, events)
}

// RejectCall declines a ringing call.
func (c *Client) RejectCall(ctx context.Context, p CallIDParams) (Call, error) {
	return call[Call](ctx, c, MethodCallReject, p)
}

// HangupCall ends a call.
func (c *Client) HangupCall(ctx context.Context, p CallIDParams) (Call, error) {
	return call[Call](ctx, c, MethodCallHangup, p)
}

// ListCalls lists ended calls, oldest first.
func (c *Client) ListCalls(ctx context.Context, p CallListParams) (Events, error) {
	return call[Events](ctx, c, MethodCallList, p)
}

// CallStatus lists the calls that have not ended.
func (c *Client) CallStatus(ctx context.Context, account string) (Calls, error) {
	return call[Calls](ctx, c, MethodCallStatus, AccountParam{Account: account})
}

// MuteCall stops or resumes sending audio.
func (c *Client) MuteCall(ctx context.Context, p CallIDParams, on bool) (Call, error) {
	if on {
		return call[Call](ctx, c, MethodCallMute, p)
	}
	return call[Call](ctx, c, MethodCallUnmute, p)
}

// Camera stops or resumes sending video.
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
	k := &callCarrier{transfer: t, events: events, inputs: map[string]chan int{}, outputs: map[string]io.Writer{StreamAudioOut: s.AudioOut, StreamVideoOut: s.VideoOut}}
	ended := make(chan struct{})
	defer close(ended)
	for name, r := range map[string]io.Reader{StreamAudioIn: s.AudioIn, StreamVideoIn: s.VideoIn} {
		if r != nil {
			k.inputs[name] = make(chan int, callGrants)
			go k.feedStream(name, r, k.inputs[name], ended)
		}
	}
	err = k.answer(method, &out)
	return out, t.cause(ctx, err)
}

// callCarrier is the client's end of a connection that carries one call.
type callCarrier struct {
	*transfer
	events  func(Event)
	outputs map[string]io.Writer
	inputs  map[string]chan int // bytes granted by the daemon
}

// answer handles the daemon's lines until its answer.
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
			if k.events != nil {
				k.events(e)
			}
		case NotifyCallData:
			var d CallData
			if err := json.Unmarshal(f.Params, &d); err != nil || d.Length < 1 || d.Length > MaxCallData || k.outputs[d.Stream] == nil {
				return Errorf(CodeInternal, "the daemon sent media that were not requested")
			}
			b := k.buf[:d.Length]
			if _, err := io.ReadFull(k.r, b); err != nil {
				return lostError(err)
			}
			if _, err := k.outputs[d.Stream].Write(b); err != nil {
				k.breakOff(err)
				return err
			}
		case NotifyCallMore:
			var more CallMore
			if err := json.Unmarshal(f.Params, &more); err != nil || more.Length < 1 || k.inputs[more.Stream] == nil {
				return Errorf(CodeInternal, "the daemon asked for a stream that does not exist")
			}
			select {
			case k.inputs[more.Stream] <- more.Length:
			default:
				return Errorf(CodeInternal, "the daemon asks for too much")
			}
		}
		// Ignore notifications that this version does not know.
	}
}

// feedStream sends one source within its grants, in pieces small enough to keep the delay low.
func (k *callCarrier) feedStream(name string, r io.Reader, grants <-chan int, ended <-chan struct{}) {
	buf := make([]byte, callPiece)
	granted := 0
	for {
		for granted == 0 {
			select {
			case granted = <-grants:
			case <-ended:
				return
			}
		}
		n, err := r.Read(buf[:min(granted, len(buf))])
		granted -= n
		if n > 0 && k.notify(NotifyCallData, CallData{Stream: name, Length: n}, buf[:n]) != nil {
			return // the answer, or the lack of one, carries the reason
		}
		switch {
		case errors.Is(err, io.EOF):
			_ = k.notify(NotifyCallEnd, CallEnd{Stream: name}, nil)
			return
		case err != nil:
			k.breakOff(err)
			return
		}
	}
}

func (k *callCarrier) notify(method string, params any, raw []byte) error {
	b, err := json.Marshal(params)
	if err != nil {
		return err
	}
	return k.line(Request{Version: rpcVersion, Method: method, Params: b}, raw)
}

const (
	// callPiece is the largest piece read from a source at once, in bytes.
	callPiece = 16 << 10
	// callGrants bounds the unused grants of a stream. The daemon has at most two under way.
	callGrants = 16
)
