package history

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"secmsg/daemon/store"
	"secmsg/rpc/e2e"
)

// ErrKind is returned for a row whose kind cannot be turned back into a content.
var ErrKind = errors.New("a message of this kind cannot be rebuilt from its row")

// ContentOf rebuilds the content of a text or a file from its row, for sending it
// again. It returns ErrKind for every other kind: sent as a text, such a message
// would reach its recipient as something that nobody wrote.
func ContentOf(m *store.Message) (*e2e.Content, error) {
	switch kind := e2e.Kind(m.Kind); kind {
	case e2e.Kind_KIND_FILE:
		f := new(e2e.File)
		err := proto.Unmarshal(m.Body, f)
		return &e2e.Content{Kind: kind, Body: &e2e.Content_File{File: f}}, err
	case e2e.Kind_KIND_TEXT:
		text := new(e2e.Text)
		err := proto.Unmarshal(m.Body, text)
		return &e2e.Content{Kind: kind, Body: &e2e.Content_Text{Text: text}}, err
	default:
		return nil, fmt.Errorf("%w: %d", ErrKind, m.Kind)
	}
}

// BodyOf encodes the part of a content that its row keeps.
func BodyOf(c *e2e.Content) ([]byte, error) {
	if f := c.GetFile(); f != nil {
		return proto.Marshal(f)
	}
	text := c.GetText()
	if text == nil {
		text = new(e2e.Text) // a request without text
	}
	return proto.Marshal(text)
}

// ReferencesOf returns the files of a content, nil if it has none.
func ReferencesOf(c *e2e.Content) []*e2e.File {
	if f := c.GetFile(); f != nil {
		return []*e2e.File{f}
	}
	return c.GetText().GetFiles()
}

// SetReferences puts the files into a content.
func SetReferences(c *e2e.Content, list []*e2e.File) {
	if c.GetKind() == e2e.Kind_KIND_FILE {
		c.Body = &e2e.Content_File{File: list[0]}
		return
	}
	c.GetText().Files = list
}

// ReferenceOf describes an own file to its recipients. Before the upload has
// ended the reference is a draft.
func ReferenceOf(f *store.File) *e2e.File {
	r := &e2e.File{
		Blob: f.Blob, Key: f.Key, Size: uint64(max(f.Size, 0)), Sha256: f.SHA256, Name: f.Name, Type: f.Type, ExpiresMs: f.ExpiresMS,
	}
	if f.ID != f.Message {
		r.Id = f.ID[:]
	}
	if len(f.Thumbnail) > 0 {
		r.Thumbnail = &e2e.Thumbnail{Jpeg: f.Thumbnail, Width: f.Width, Height: f.Height}
	}
	return r
}

// detailsOf is the reverse of ReferenceOf.
func detailsOf(r *e2e.File) store.FileDetails {
	d := store.FileDetails{
		Name: r.GetName(), Type: r.GetType(), Size: int64(r.GetSize()), Blob: r.GetBlob(), Key: r.GetKey(), SHA256: r.GetSha256(),
	}
	if t := r.GetThumbnail(); t != nil {
		d.Thumbnail, d.Width, d.Height = t.GetJpeg(), t.GetWidth(), t.GetHeight()
	}
	return d
}
