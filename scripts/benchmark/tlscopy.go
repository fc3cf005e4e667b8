package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"secmsg/scripts/lab"
)

const (
	// copyCommand runs one end of the bare copy in a separate process.
	copyCommand = "copy"
	// copyBuffer is how many bytes each end reads and writes at once.
	copyBuffer = 256 << 10
	// noAES makes Go prefer ChaCha20. The cipher of TLS 1.3 cannot be configured, but without AES in
	// hardware ChaCha20 comes first (crypto/tls, cipherSuitesPreferenceOrder).
	noAES = "GODEBUG=cpu.aes=off,cpu.pclmulqdq=off"
)

// runCopy is one end: with -to it sends a file; otherwise it is the receiver, which prints its address,
// writes the received bytes to a file and makes it durable.
func runCopy(ctx context.Context, args []string, stdout io.Writer) error {
	f := flag.NewFlagSet(copyCommand, flag.ContinueOnError)
	cert, key := f.String("cert", "", "PEM certificate"), f.String("key", "", "PEM key")
	path, to := f.String("path", "", "file to read or write"), f.String("to", "", "address of the receiver")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *to != "" {
		return copyFrom(ctx, *path, *to)
	}
	return copyTo(ctx, *path, *cert, *key, stdout)
}

func copyFrom(ctx context.Context, path, to string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	defer f.Close()
	// The certificate is the lab's own; the measurement is about the cipher.
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}}
	conn, err := d.DialContext(ctx, "tcp", to)
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	c := conn.(*tls.Conn)
	defer c.Close()
	if suite := c.ConnectionState().CipherSuite; suite != tls.TLS_CHACHA20_POLY1305_SHA256 {
		return fmt.Errorf("copy: the cipher is %s", tls.CipherSuiteName(suite))
	}
	if _, err := io.CopyBuffer(onlyWriter{c}, onlyReader{f}, make([]byte, copyBuffer)); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	if err := c.CloseWrite(); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	_, err = c.Read(make([]byte, 1)) // the receiver closes when everything is durable
	if !errors.Is(err, io.EOF) {
		return fmt.Errorf("copy: the receiver: %w", err)
	}
	return nil
}

func copyTo(ctx context.Context, path, cert, key string, stdout io.Writer) (err error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	defer ln.Close()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	if _, err := fmt.Fprintln(stdout, ln.Addr()); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	conn, err := ln.Accept()
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	c := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13})
	defer c.Close()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	defer f.Close()
	if _, err := io.CopyBuffer(onlyWriter{f}, onlyReader{c}, make([]byte, copyBuffer)); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	return nil
}

// onlyReader and onlyWriter hide other methods, so that io.CopyBuffer uses its buffer.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)

// tlsCopy copies a file from one process to another over TLS 1.3 with ChaCha20. It returns how long
// that took until everything was durable.
func tlsCopy(ctx context.Context, w *lab.World, from, to string) (took time.Duration, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("copy: %w", err)
	}
	defer func() {
		if e := os.Remove(to); err == nil && e != nil {
			err = fmt.Errorf("copy: %w", e)
		}
	}()
	dir := w.ServerDir()
	receiver := exec.CommandContext(ctx, self, copyCommand, "-path", to, "-cert", filepath.Join(dir, "tls.crt"), "-key", filepath.Join(dir, "tls.key"))
	receiver.Env = append(os.Environ(), noAES)
	receiver.Stderr = os.Stderr
	out, err := receiver.StdoutPipe()
	if err != nil {
		return 0, fmt.Errorf("copy: %w", err)
	}
	if err := receiver.Start(); err != nil {
		return 0, fmt.Errorf("copy: %w", err)
	}
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return 0, errors.Join(fmt.Errorf("copy: %w", err), receiver.Process.Kill(), receiver.Wait())
	}
	sender := exec.CommandContext(ctx, self, copyCommand, "-path", from, "-to", strings.TrimSpace(addr))
	sender.Env = append(os.Environ(), noAES)
	sender.Stderr = os.Stderr
	start := time.Now()
	if err := sender.Run(); err != nil {
		return 0, errors.Join(fmt.Errorf("copy: %w", err), receiver.Process.Kill(), receiver.Wait())
	}
	if err := receiver.Wait(); err != nil {
		return 0, fmt.Errorf("copy: %w", err)
	}
	return time.Since(start), nil
}
