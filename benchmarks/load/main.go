// Command load makes the load of the benchmarks and prints what it measured as one JSON object.
//
//	load unary  -address A -method M -request FILE -inflight 64 -seconds 3 [-range N]
//	load stream -address A -method M -request FILE -streams 100 [-logs] [-gate FILE]
//	load watch  -address A -method M -request FILE -create FILE -watchers 5000 -rounds 200 [-all]
//
// Requests are files of serialised messages. "@@@@@@" in one of them is replaced by a number of six
// digits, which keeps its length and with it the message whole.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// A run that hangs is a failure, not a measurement.
const longest = 5 * time.Minute

type options struct {
	address, method, request, create, gate string
	inflight, streams, watchers            int
	connections, rounds, numbers           int
	seconds                                float64
	logs, all                              bool
}

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("usage: load unary|stream|watch -address HOST:PORT …"))
	}
	var o options
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	flags.StringVar(&o.address, "address", "", "HOST:PORT of the server")
	flags.StringVar(&o.method, "method", "", "/SERVICE/METHOD")
	flags.StringVar(&o.request, "request", "", "file with the serialised request")
	flags.StringVar(&o.create, "create", "", "watch: file with the request that makes a change")
	flags.StringVar(&o.gate, "gate", "", "stream: file to make once every stream stands")
	flags.IntVar(&o.inflight, "inflight", 64, "unary: calls at the same time")
	flags.IntVar(&o.streams, "streams", 1, "stream: streams at the same time")
	flags.IntVar(&o.watchers, "watchers", 1, "watch: watches at the same time")
	flags.IntVar(&o.connections, "connections", 4, "connections that they share")
	flags.IntVar(&o.rounds, "rounds", 100, "watch: changes")
	flags.IntVar(&o.numbers, "range", 1, "unary: the number in a request is below it, at random")
	flags.Float64Var(&o.seconds, "seconds", 1, "unary: how long")
	flags.BoolVar(&o.logs, "logs", false, "stream: the frames are StreamLogsResponse")
	flags.BoolVar(&o.all, "all", false, "watch: every watcher sees every change")
	check(flags.Parse(os.Args[2:]))
	time.AfterFunc(longest, func() { fail(fmt.Errorf("not done after %s", longest)) })

	modes := map[string]func(options) any{"unary": unary, "stream": stream, "watch": watch}
	mode, known := modes[os.Args[1]]
	if !known {
		fail(fmt.Errorf("there is no mode %q", os.Args[1]))
	}
	check(json.NewEncoder(os.Stdout).Encode(mode(o)))
}

func dial(address string, count int) []*grpc.ClientConn {
	connections := make([]*grpc.ClientConn, count)
	for i := range connections {
		connection, err := grpc.NewClient(
			"passthrough:///"+address,
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithInitialWindowSize(1<<20),
			grpc.WithInitialConnWindowSize(8<<20),
			grpc.WithDefaultCallOptions(
				grpc.ForceCodecV2(raw{}), grpc.MaxCallRecvMsgSize(64<<20), grpc.WaitForReady(true),
			),
		)
		check(err)
		connections[i] = connection
	}
	return connections
}

func read(path string) []byte {
	content, err := os.ReadFile(path)
	check(err)
	return content
}

// quantile returns a quantile of durations, in milliseconds.
func quantile(all []time.Duration, share float64) float64 {
	if len(all) == 0 {
		return 0
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	return float64(all[int(share*float64(len(all)-1))].Microseconds()) / 1000
}

func check(err error) {
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "load:", err)
	os.Exit(1)
}
