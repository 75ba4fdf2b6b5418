package main

import (
	"bytes"
	"fmt"

	"google.golang.org/grpc/mem"
)

// raw passes bytes through: a client that decodes answers measures itself.
type raw struct{}

// message is what is sent, or what came; data is kept only where it is asked for.
type message struct {
	data []byte
	size int
	keep bool
}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.(*message).data)}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	m := v.(*message)
	m.size = data.Len()
	if m.keep {
		m.data = data.Materialize()
	}
	return nil
}

var placeholder = []byte("@@@@@@")

// numbered puts a number into a request, which keeps its length.
func numbered(template []byte, number int) []byte {
	if !bytes.Contains(template, placeholder) {
		return template
	}
	return bytes.ReplaceAll(template, placeholder, fmt.Appendf(nil, "%06d", number))
}
