package link

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"secmsg/config"
	"secmsg/rpc/wire"
)

// TestBlobsInS3 transfers parts to and from a real store. The server only issues tickets
// for the store.
func TestBlobsInS3(t *testing.T) {
	program := os.Getenv("SECMSG_S3_GATEWAY")
	if program == "" {
		t.Skip("SECMSG_S3_GATEWAY does not name an S3 server; scripts/s3-gateway builds one")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	address := l.Addr().String()
	check(t, l.Close())
	dir := t.TempDir()
	check(t, os.Mkdir(filepath.Join(dir, "files"), 0o700)) // a directory is a bucket
	gateway := exec.Command(program, "--access", "key", "--secret", "secret", "--port", address, "--quiet", "posix", dir)
	check(t, gateway.Start())
	defer func() {
		_ = gateway.Process.Kill()
		_ = gateway.Wait() // it was killed
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); ; <-tick.C {
		resp, err := http.Get("http://" + address)
		if err == nil {
			check(t, resp.Body.Close())
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	c := startServer(t, func(s *config.Server) {
		s.Blob.S3 = config.ServerS3{Endpoint: "http://" + address, Region: "us-east-1", Bucket: "files", Prefix: "realm/", AccessKey: "key", SecretKey: "secret"}
	}).join("alice")
	ctx := t.Context()
	b, err := c.CreateBlob(ctx, wire.CreateBlob{Readers: []string{}})
	check(t, err)
	content := make([]byte, wire.MinBlobPart+7)
	rand.Read(content)
	parts := []wire.BlobPart{{Number: 1, Size: wire.MinBlobPart}, {Number: 2, Size: 7}}
	tickets, err := c.BlobTickets(ctx, b.ID, parts)
	check(t, err)
	for i := range parts {
		if _, own, err := c.ticketURL(tickets[i].URL); own || err != nil {
			t.Fatal("the server would carry the bytes", err)
		}
		r := io.NewSectionReader(bytes.NewReader(content), int64(i)*wire.MinBlobPart, parts[i].Size)
		parts[i].ETag, err = c.PutPart(ctx, tickets[i], parts[i].Size, r)
		check(t, err)
	}
	_, err = c.CompleteBlob(ctx, b.ID, parts)
	check(t, err)
	down, err := c.DownloadBlob(ctx, b.ID)
	check(t, err)
	got := make([]byte, len(content))
	check(t, whole(c.GetRange(ctx, down.Ticket, 0, got[:10])))
	check(t, whole(c.GetRange(ctx, down.Ticket, 10, got[10:])))
	if !bytes.Equal(got, content) {
		t.Error("differs")
	}
	bad := down.Ticket
	bad.URL += "0"
	if _, err := c.GetRange(ctx, bad, 0, got); !errors.Is(err, ErrTicket) {
		t.Errorf("bad ticket: %v", err)
	}
	check(t, c.DeleteBlob(ctx, b.ID))
	check(t, waitGone(ctx, c, down.Ticket))
}
