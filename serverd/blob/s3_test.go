package blob

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
)

// gatewayEnv names the binary of a real S3 server for a local directory (versitygw), built by
// scripts/s3-gateway.
const gatewayEnv = "SECMSG_S3_GATEWAY"

// gateway starts an S3 server and returns its address.
func gateway(t *testing.T) *url.URL {
	t.Helper()
	program := os.Getenv(gatewayEnv)
	if program == "" {
		t.Skipf("%s does not name an S3 server; scripts/test-engines builds one", gatewayEnv)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := l.Addr().String()
	must(t, l.Close())
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "log"))
	must(t, err)
	data := filepath.Join(dir, "data")
	must(t, os.Mkdir(data, 0o700))
	cmd := exec.Command(program, "--access", "key", "--secret", "secret-of-the-test", "--port", address, "--quiet", "--keep-alive", "posix", data)
	cmd.Stdout, cmd.Stderr = log, log
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		must(t, log.Close())
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("the S3 server said: %s", text)
		}
	})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); ; <-tick.C {
		resp, err := http.Get("http://" + address)
		if err == nil {
			must(t, resp.Body.Close())
			return &url.URL{Scheme: "http", Host: address}
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestS3(t *testing.T) {
	endpoint := gateway(t)
	n := 0
	open := func(t *testing.T) backend {
		n++
		s, err := OpenS3(S3Options{
			Endpoint: endpoint, Region: "us-east-1", Bucket: fmt.Sprintf("blobs-%d", n), Prefix: "realm/",
			AccessKey: "key", SecretKey: "secret-of-the-test",
		})
		must(t, err)
		t.Cleanup(func() { must(t, s.Close()) })
		if err := s.Ping(ctxOf(t)); err == nil {
			t.Error("a missing bucket was found")
		}
		must(t, s.core.MakeBucket(ctxOf(t), s.opt.Bucket, minio.MakeBucketOptions{}))
		return backend{Store: s, now: time.Now, late: func() {
			timer := time.NewTimer(2100 * time.Millisecond) // S3 has its own clock, in seconds
			<-timer.C
		}}
	}
	testStore(t, open)
	t.Run("Outage", func(t *testing.T) {
		s, err := OpenS3(S3Options{Endpoint: &url.URL{Scheme: "http", Host: "127.0.0.1:1"}, Region: "us-east-1", Bucket: "blobs", AccessKey: "a", SecretKey: "b"})
		must(t, err)
		if _, err := s.Create(ctxOf(t), NewID()); err == nil || strings.Contains(err.Error(), "secret") {
			t.Error(err)
		}
		if s.Counters()["failures"] != 1 {
			t.Error(s.Counters())
		}
	})
}
