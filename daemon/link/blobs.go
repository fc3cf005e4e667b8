package link

import (
	"context"
	"fmt"
	"net/http"

	"secmsg/rpc/wire"
)

// maxBlobID bounds what may stand in a path: ids are the server's words.
const maxBlobID = 128

// CreateBlob begins an upload. Besides the errors of every call it fails with
// the codes quota and too_large, which are final for this size.
func (c *Client) CreateBlob(ctx context.Context, b wire.CreateBlob) (wire.Blob, error) {
	var out wire.Blob
	if err := c.authorized(ctx, http.MethodPost, "/v1/blobs", b, &out); err != nil {
		return out, err
	}
	if _, err := blobPath(out.ID, ""); err != nil {
		return out, fmt.Errorf("create blob: %w", ErrProtocol)
	}
	return out, nil
}

// BlobTickets asks where parts go, at most [wire.MaxBlobTickets] at once, and
// reserves their sizes. The answer has one ticket for each part, in their
// order. It fails with the codes not_found (the upload is gone), conflict (a part was reserved with
// another size, or the blob is complete), quota and too_large.
func (c *Client) BlobTickets(ctx context.Context, id string, parts []wire.BlobPart) ([]wire.BlobTicket, error) {
	path, err := blobPath(id, "/tickets")
	if err != nil {
		return nil, err
	}
	var out wire.BlobTicketList
	if err := c.authorized(ctx, http.MethodPost, path, wire.BlobTickets{Parts: parts}, &out); err != nil {
		return nil, err
	}
	if len(out.Tickets) != len(parts) {
		return nil, fmt.Errorf("%d tickets for %d parts: %w", len(out.Tickets), len(parts), ErrProtocol)
	}
	for i, t := range out.Tickets {
		if t.Number != parts[i].Number {
			return nil, fmt.Errorf("ticket for part %d instead of %d: %w", t.Number, parts[i].Number, ErrProtocol)
		}
	}
	return out.Tickets, nil
}

// CompleteBlob makes a blob of its parts, all of them from number 1 on, with
// the ETags that their uploads were answered with. Repeating it gives the same answer. It
// fails with the codes not_found, malformed and conflict (a part is missing, or
// another one than named).
func (c *Client) CompleteBlob(ctx context.Context, id string, parts []wire.BlobPart) (wire.Blob, error) {
	var out wire.Blob
	path, err := blobPath(id, "/complete")
	if err != nil {
		return out, err
	}
	var body wire.CompleteBlob
	for i, p := range parts {
		if p.Number != i+1 {
			return out, fmt.Errorf("complete blob: part %d in place %d: %w", p.Number, i+1, ErrTooLarge)
		}
		body.ETags = append(body.ETags, p.ETag)
		body.Size += p.Size
	}
	err = c.authorized(ctx, http.MethodPost, path, body, &out)
	return out, err
}

// GetBlob returns how an own blob stands, with the parts that are stored.
func (c *Client) GetBlob(ctx context.Context, id string) (wire.Blob, error) {
	var out wire.Blob
	path, err := blobPath(id, "")
	if err != nil {
		return out, err
	}
	err = c.authorized(ctx, http.MethodGet, path, nil, &out)
	return out, err
}

// BlobUsage returns what the account's blobs take at the server.
func (c *Client) BlobUsage(ctx context.Context) (wire.BlobUsage, error) {
	var out wire.BlobUsage
	err := c.authorized(ctx, http.MethodGet, "/v1/blobs", nil, &out)
	return out, err
}

// DeleteBlob removes an own blob or upload. One that is not there is fine.
func (c *Client) DeleteBlob(ctx context.Context, id string) error {
	path, err := blobPath(id, "")
	if err != nil {
		return err
	}
	if err := c.authorized(ctx, http.MethodDelete, path, nil, nil); wire.CodeOf(err) != wire.CodeNotFound {
		return err
	}
	return nil
}

// DownloadBlob asks where a blob comes from. It fails with the code not_found
// for one that is gone, or that this account may not fetch.
func (c *Client) DownloadBlob(ctx context.Context, id string) (wire.BlobDownload, error) {
	var out wire.BlobDownload
	path, err := blobPath(id, "/download")
	if err != nil {
		return out, err
	}
	if err := c.authorized(ctx, http.MethodPost, path, nil, &out); err != nil {
		return out, err
	}
	return out, nil
}

// blobPath makes a path of a blob's id, which may come from a peer.
func blobPath(id, rest string) (string, error) {
	if id == "" || len(id) > maxBlobID {
		return "", &wire.Error{Code: wire.CodeNotFound, Message: "no such blob"}
	}
	for i := range len(id) {
		c := id[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return "", &wire.Error{Code: wire.CodeNotFound, Message: "no such blob"}
		}
	}
	return "/v1/blobs/" + id + rest, nil
}
