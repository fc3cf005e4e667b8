package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"

	"secmsg/rpc/local"

	"github.com/spf13/cobra"
)

func newRPCCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "rpc",
		Short: "Exchange JSON-RPC with the daemon on standard input and output",
		Long: "Exchange JSON-RPC 2.0 with the daemon, one object a line. The command exits when\n" +
			"standard input has ended and every request has been answered. A subscription\n" +
			"lasts until standard input ends. Requests are handled concurrently: wait for the\n" +
			"answer if the order matters.",
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return missingVerb(a, cmd, args)
			}
			return runRPC(cmd.Context(), a)
		},
	}
	c.AddCommand(&cobra.Command{
		Use:     "call METHOD [JSON | -]",
		Short:   "Call one method and print its result",
		Example: "  secmsg rpc call status.get\n  secmsg rpc call contact.show '{\"peer\":\"alice\"}'",
		Args:    argsBetween(1, 2),
		RunE:    func(cmd *cobra.Command, args []string) error { return runRPCCall(cmd.Context(), a, args) },
	})
	return c
}

func runRPCCall(ctx context.Context, a *app, args []string) error {
	params := json.RawMessage("{}")
	if len(args) == 2 {
		params = json.RawMessage(args[1])
		if args[1] == "-" {
			b, err := a.readStdin(ctx, local.MaxRequest, usagef("the parameters are longer than %d bytes", local.MaxRequest))
			if err != nil {
				return err
			}
			params = b
		}
	}
	if !local.CheckDepth(params, local.MaxDepth) || !json.Valid(params) {
		return usagef("the parameters are not valid JSON")
	}
	if args[0] == local.MethodEventSubscribe {
		return usagef("%s needs a stream", args[0]).WithHint("use secmsg listen or secmsg rpc")
	}
	return a.withDaemon(ctx, func(c *local.Client) error {
		var result json.RawMessage
		if err := c.Call(ctx, args[0], params, &result); err != nil {
			return err
		}
		return a.writeJSON(result)
	})
}

// runRPC carries lines between the standard streams and the daemon.
func runRPC(ctx context.Context, a *app) error {
	if err := a.needStdin(); err != nil {
		return err
	}
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	to := c.Target()
	if err := c.Close(); err != nil {
		return err
	}
	conn, err := local.DialRaw(ctx, to)
	if err != nil {
		return err
	}
	defer conn.Close()

	p := &proxy{open: map[string]int{}}
	in := make(chan error, 1)
	go func() { in <- p.requests(conn, bufio.NewReader(a.stdin)) }()
	out := make(chan error, 1)
	go func() { out <- p.answers(bufio.NewReader(conn), a.writeJSON) }()

	for {
		select {
		case err := <-in:
			if err != nil {
				return err
			}
			in = nil // standard input has ended, but answers are still awaited
			if p.finish() {
				return nil
			}
		case err := <-out:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// proxy counts unanswered requests.
type proxy struct {
	mu     sync.Mutex
	open   map[string]int // unanswered requests by id
	ending bool           // standard input has ended
}

// requests passes lines on to the daemon. Malformed lines are passed on too: the
// daemon answers them with an error and the id null.
func (p *proxy) requests(w io.Writer, r *bufio.Reader) error {
	for {
		line, err := local.ReadLine(r, local.MaxRequest)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if errors.Is(err, local.ErrLineTooLong) {
			return usagef("a request is longer than %d bytes", local.MaxRequest)
		}
		if err != nil {
			return local.IOError(err, "standard input: %v", err)
		}
		if strings.TrimSpace(string(line)) == "" {
			continue
		}
		p.add(requestID(line), 1)
		if _, err := w.Write(append(line, '\n')); err != nil {
			return local.Errorf(local.CodeNoDaemon, "the daemon closed the connection")
		}
	}
}

// answers passes lines on to standard output until the input has ended and every
// request is answered, or the daemon closes the connection.
func (p *proxy) answers(r *bufio.Reader, write func([]byte) error) error {
	for {
		line, err := local.ReadLine(r, local.MaxResponse)
		if err != nil {
			return local.Errorf(local.CodeNoDaemon, "the daemon closed the connection")
		}
		if err := write(line); err != nil {
			return err
		}
		var f struct {
			ID     json.RawMessage `json:"id"`
			Method string          `json:"method"`
		}
		if err := json.Unmarshal(line, &f); err != nil || f.Method != "" {
			continue
		}
		if p.add(idKey(f.ID), -1) {
			return nil
		}
	}
}

// requestID returns the id that the answer to a line will have, or an empty string
// for a notification, which is not answered.
func requestID(line []byte) string {
	var f struct {
		ID     json.RawMessage `json:"id"`
		Method *string         `json:"method"`
	}
	if !local.CheckDepth(line, local.MaxDepth) || json.Unmarshal(line, &f) != nil {
		return "null"
	}
	if len(f.ID) == 0 && f.Method != nil && *f.Method != "" {
		return ""
	}
	return idKey(f.ID)
}

func idKey(id json.RawMessage) string {
	if len(id) == 0 {
		return "null"
	}
	return string(id)
}

// add counts a request or its answer, and reports whether the proxy is done.
func (p *proxy) add(id string, n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if id != "" {
		if p.open[id] += n; p.open[id] <= 0 {
			delete(p.open, id)
		}
	}
	return p.ending && len(p.open) == 0
}

// finish notes the end of standard input, and reports whether the proxy is done.
func (p *proxy) finish() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ending = true
	return len(p.open) == 0
}
