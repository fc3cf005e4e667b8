package blob

import (
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"
)

// lateStore is an S3 store with one upload, into which a part arrives after an abort.
type lateStore struct {
	t      *testing.T
	key    string
	mu     sync.Mutex
	listed bool // the upload is listed
	parts  int
	late   int // number of further aborts after which a part arrives
	aborts int
}

func (s *lateStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := r.URL.Query()
	w.Header().Set("Content-Type", "application/xml")
	switch {
	case r.Method == http.MethodGet && q.Has("location"):
		fmt.Fprint(w, `<LocationConstraint></LocationConstraint>`)
	case r.Method == http.MethodGet && q.Has("uploads"):
		if s.listed {
			fmt.Fprintf(w, `<ListMultipartUploadsResult><Upload><Key>%s</Key><UploadId>u1</UploadId></Upload></ListMultipartUploadsResult>`, s.key)
			return
		}
		fmt.Fprint(w, `<ListMultipartUploadsResult></ListMultipartUploadsResult>`)
	case r.Method == http.MethodDelete && q.Get("uploadId") == "u1":
		s.aborts++
		s.listed, s.parts = false, 0
		if s.late > 0 {
			s.late--
			s.parts = 1 // it was under way
		}
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodGet && q.Get("uploadId") == "u1":
		if s.parts == 0 {
			w.WriteHeader(http.StatusNotFound)
			_ = xml.NewEncoder(w).Encode(struct {
				XMLName xml.Name `xml:"Error"`
				Code    string
			}{Code: "NoSuchUpload"})
			return
		}
		fmt.Fprint(w, `<ListPartsResult><Part><PartNumber>1</PartNumber><ETag>"e"</ETag><Size>5</Size></Part></ListPartsResult>`)
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
	default:
		s.t.Errorf("unexpected %s %s", r.Method, r.URL)
	}
}

// TestS3PartDuringAbort uploads a part while its upload is aborted: at once, and after the abort seemed
// complete.
func TestS3PartDuringAbort(t *testing.T) {
	id := NewID()
	now := time.Unix(1_900_000_000, 0)
	fake := &lateStore{t: t, key: "realm/" + FormatID(id), listed: true, parts: 1, late: 1}
	server := httptest.NewServer(fake)
	defer server.Close()
	endpoint, err := url.Parse(server.URL)
	must(t, err)
	s, err := OpenS3(S3Options{
		Endpoint: endpoint, Region: "us-east-1", Bucket: "blobs", Prefix: "realm/", AccessKey: "a", SecretKey: "b",
		Now: func() time.Time { return now },
	})
	must(t, err)
	defer func() { must(t, s.Close()) }()
	ctx := context.Background()
	state := func(what string, parts, aborts int) {
		t.Helper()
		fake.mu.Lock()
		defer fake.mu.Unlock()
		if fake.parts != parts || fake.aborts != aborts {
			t.Errorf("%s: %d parts after %d aborts, want %d after %d", what, fake.parts, fake.aborts, parts, aborts)
		}
	}
	must(t, s.Delete(ctx, id))
	state("a part that came during the abort", 0, 2)
	fake.mu.Lock()
	fake.parts = 1 // and one that arrived even later
	fake.mu.Unlock()
	must(t, s.AbortAgain(ctx))
	state("too early to look again", 1, 2)
	now = now.Add(abortAgain)
	must(t, s.AbortAgain(ctx))
	state("later", 0, 3)
	must(t, s.AbortAgain(ctx))
	state("once is enough", 0, 3)

	fake.mu.Lock()
	fake.listed, fake.parts, fake.late = true, 1, 100
	fake.mu.Unlock()
	if err := s.Delete(ctx, id); err == nil {
		t.Error("a deletion succeeded while parts kept coming")
	}
}
