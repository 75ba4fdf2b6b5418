package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
)

type streamReport struct {
	Bytes   int64    `json:"bytes"`   // of content, all streams together
	Frames  int      `json:"frames"`  // the same
	Holes   int      `json:"holes"`   // frames that do not start where the one before ended
	Seconds float64  `json:"seconds"` // from the first content to the last, over all streams
	Last    int64    `json:"last_ns"` // when the last content came, ns since the epoch
	Sums    []uint32 `json:"sums"`    // CRC-32 of each stream's content
}

type reading struct {
	bytes       int64
	frames      int
	holes       int
	sum         uint32
	first, last time.Time
}

// stream reads streams to their ends.
func stream(o options) any {
	request := read(o.request)
	connections := dial(o.address, min(o.connections, o.streams))
	readings := make([]reading, o.streams)
	var group, standing sync.WaitGroup
	standing.Add(o.streams)
	for i := range readings {
		group.Go(func() {
			opened := open(connections[i%len(connections)], o.method, request)
			_, err := opened.Header() // the server has it in hand
			check(err)
			standing.Done()
			readings[i].take(opened, o.logs)
		})
	}
	standing.Wait()
	if o.gate != "" {
		check(os.WriteFile(o.gate, nil, 0o600))
	}
	group.Wait()
	return sum(readings)
}

func open(connection *grpc.ClientConn, method string, request []byte) grpc.ClientStream {
	opened, err := connection.NewStream(context.Background(), &grpc.StreamDesc{ServerStreams: true}, method)
	check(err)
	check(opened.SendMsg(&message{data: request}))
	check(opened.CloseSend())
	return opened
}

func (r *reading) take(opened grpc.ClientStream, logs bool) {
	for {
		frame := message{keep: true}
		err := opened.RecvMsg(&frame)
		if err == io.EOF {
			return
		}
		check(err)
		content, offset := frame.data, r.bytes
		if logs {
			if content, offset = chunk(frame.data); content == nil {
				continue
			}
		}
		r.last = time.Now()
		if r.frames == 0 {
			r.first = r.last
		}
		if offset != r.bytes {
			r.holes++
		}
		r.frames++
		r.bytes += int64(len(content))
		r.sum = crc32.Update(r.sum, crc32.IEEETable, content)
	}
}

func sum(readings []reading) streamReport {
	var report streamReport
	first, last := readings[0].first, readings[0].last
	for _, each := range readings {
		report.Bytes += each.bytes
		report.Frames += each.frames
		report.Holes += each.holes
		report.Sums = append(report.Sums, each.sum)
		if each.first.Before(first) {
			first = each.first
		}
		if each.last.After(last) {
			last = each.last
		}
	}
	report.Seconds = last.Sub(first).Seconds()
	report.Last = last.UnixNano()
	return report
}

// chunk returns content and offset of a StreamLogsResponse; nil: it holds no output.
func chunk(frame []byte) ([]byte, int64) {
	var content []byte
	var offset int64
	fields(frame, func(number uint64, _ uint64, inner []byte) {
		if number != 2 { // StreamLogsResponse.chunk
			return
		}
		fields(inner, func(number uint64, value uint64, data []byte) {
			switch number {
			case 4: // LogChunk.offset
				offset = int64(value)
			case 5, 6: // LogChunk.data, LogChunk.text
				content = data
			}
		})
	})
	return content, offset
}

// fields calls back for each field of a message of varints and length-delimited fields.
func fields(data []byte, found func(number, value uint64, data []byte)) {
	for len(data) > 0 {
		tag, n := binary.Uvarint(data)
		value, m := binary.Uvarint(data[max(n, 0):])
		if n <= 0 || m <= 0 {
			fail(fmt.Errorf("a frame that is no message"))
		}
		data = data[n+m:]
		if tag&7 == 2 {
			found(tag>>3, 0, data[:value])
			data = data[value:]
		} else {
			found(tag>>3, value, nil)
		}
	}
}
