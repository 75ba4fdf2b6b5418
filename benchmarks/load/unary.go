package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

type unaryReport struct {
	Calls   int     `json:"calls"`
	Failed  int     `json:"failed"`
	Error   string  `json:"error"`
	Seconds float64 `json:"seconds"`
	Size    int     `json:"size"`
	P50     float64 `json:"p50_ms"`
	P99     float64 `json:"p99_ms"`
}

// unary keeps so many calls in flight for so long.
func unary(o options) any {
	template := read(o.request)
	connections := dial(o.address, min(o.connections, o.inflight))
	check(connections[0].Invoke(context.Background(), o.method, &message{data: numbered(template, 0)}, &message{}))
	var (
		lock   sync.Mutex
		group  sync.WaitGroup
		report unaryReport
		times  []time.Duration
	)
	begin := time.Now()
	until := begin.Add(time.Duration(o.seconds * float64(time.Second)))
	for i := range o.inflight {
		group.Go(func() {
			var mine []time.Duration
			var answer message
			failed, problem := 0, ""
			for time.Now().Before(until) {
				request := message{data: numbered(template, rand.IntN(o.numbers))}
				sent := time.Now()
				err := connections[i%len(connections)].Invoke(context.Background(), o.method, &request, &answer)
				if err != nil {
					failed, problem = failed+1, err.Error()
					continue
				}
				mine = append(mine, time.Since(sent))
			}
			lock.Lock()
			defer lock.Unlock()
			times = append(times, mine...)
			report.Failed += failed
			report.Size = max(report.Size, answer.size)
			if problem != "" {
				report.Error = problem
			}
		})
	}
	group.Wait()
	report.Seconds = time.Since(begin).Seconds()
	report.Calls = len(times)
	report.P50, report.P99 = quantile(times, 0.5), quantile(times, 0.99)
	return report
}
