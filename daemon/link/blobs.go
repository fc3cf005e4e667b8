package link

import (
	"context"
	"fmt"
	"net/http"

	"secmsg/rpc/wire"
)

// maxBlobID bounds a blob's id, which becomes part of a path, in bytes.
const maxBlobID = 128

// CreateBlob begins an upload. Besides the errors of every call it fails with the codes
// quota and too_large, which are final for this size.
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

// BlobTickets requests upload URLs for at most [wire.MaxBlobTickets] parts and reserves
// their sizes. The answer has one ticket for each part, in order. It fails with the codes
// not_found (the upload is gone), conflict (a part was reserved with another size, or the
// blob is complete), quota and too_large.
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

// CompleteBlob makes a blob of uploaded parts: all of them, starting with number 1, with
// the ETags returned by their uploads. Repeating it returns the same answer. It fails with
// the codes not_found, malformed and conflict (a part is missing or has another ETag).
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

// GetBlob returns the state of an own blob, with its stored parts.
func (c *Client) GetBlob(ctx context.Context, id string) (wire.Blob, error) {
	var out wire.Blob
	path, err := blobPath(id, "")
	if err != nil {
		return out, err
	}
	err = c.authorized(ctx, http.MethodGet, path, nil, &out)
	return out, err
}

// BlobUsage returns the space that the account's blobs use on the server.
func (c *Client) BlobUsage(ctx context.Context) (wire.BlobUsage, error) {
	var out wire.BlobUsage
	err := c.authorized(ctx, http.MethodGet, "/v1/blobs", nil, &out)
	return out, err
}

// DeleteBlob deletes an own blob or upload, if it exists.
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

// DownloadBlob requests the download URL of a blob. It fails with the code not_found if the
// blob is gone or this account may not fetch it.
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

// blobPath returns the path for a blob's id, which may come from a peer.
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
