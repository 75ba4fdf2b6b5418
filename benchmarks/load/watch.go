package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
)

const createMethod = "/subgrpc.v1.ExperimentService/CreateExperiment"

// Opened at the same time: more would only queue up in the server.
const opening = 64

type watchReport struct {
	Events int     `json:"events"`
	P50    float64 `json:"p50_ms"`
	P99    float64 `json:"p99_ms"`
	Most   float64 `json:"most_ms"`
}

type event struct {
	watcher int
	at      time.Time
}

// watch opens watches, says "ready", waits for a line, and then makes changes and times the events.
func watch(o options) any {
	request, create := read(o.request), read(o.create)
	connections := dial(o.address, o.connections)
	changes := dial(o.address, 1)[0]
	events := make(chan event, o.watchers)
	slots := make(chan struct{}, opening)
	for i := range o.watchers {
		slots <- struct{}{}
		opened := open(connections[i%len(connections)], o.method, numbered(request, i))
		go func() {
			frame := message{}
			check(opened.RecvMsg(&frame)) // the bookmark behind the initial state, which is empty
			<-slots
			events <- event{i, time.Time{}}
			follow(opened, i, events)
		}()
	}
	for range o.watchers {
		<-events
	}
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		fail(err)
	}
	var times []time.Duration
	for round := range o.rounds {
		times = append(times, change(changes, numbered(create, round), round, o, events)...)
	}
	return watchReport{
		len(times), quantile(times, 0.5), quantile(times, 0.99), quantile(times, 1),
	}
}

func follow(opened grpc.ClientStream, watcher int, events chan<- event) {
	for {
		frame := message{}
		check(opened.RecvMsg(&frame))
		if frame.size > 200 { // a change holds an experiment; a heartbeat is small
			events <- event{watcher, time.Now()}
		}
	}
}

// change creates one experiment and returns how long after the call was sent its events came.
func change(connection *grpc.ClientConn, request []byte, round int, o options, events <-chan event) []time.Duration {
	want := 1
	if o.all {
		want = o.watchers
	}
	begin := time.Now()
	check(connection.Invoke(context.Background(), createMethod, &message{data: request}, &message{}))
	times := make([]time.Duration, 0, want)
	for len(times) < want {
		came := <-events
		if !o.all && came.watcher != round {
			fail(fmt.Errorf("watcher %d got the event of %d", came.watcher, round))
		}
		times = append(times, came.at.Sub(begin))
	}
	return times
}
