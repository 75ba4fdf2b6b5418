// A client that knows nothing of subgrpc but its protos: it creates an experiment, watches it to
// its end, follows its logs, and reports what it saw as JSON on stdout.
//
//	client ADDRESS EXPERIMENT COMMAND
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	v1 "github.com/subgrpc/subgrpc/gen/go/subgrpc/v1"
)

const team = "teams/default"

// report is what the test reads.
type report struct {
	Name        string   `json:"name"`
	Uid         string   `json:"uid"`
	Changes     []change `json:"changes"`
	Initial     int      `json:"initial"` // changes before the bookmark INITIAL_STATE_COMPLETE
	Stdout      []byte   `json:"stdout"`  // base64 in JSON
	Stderr      []byte   `json:"stderr"`
	EndState    string   `json:"endState"`
	FinalState  string   `json:"finalState"`
	FinalReason string   `json:"finalReason"`
}

type change struct {
	Type     string `json:"type"`
	State    string `json:"state"`
	Revision int64  `json:"revision"`
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: client ADDRESS EXPERIMENT COMMAND")
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	seen, err := run(ctx, os.Args[1], os.Args[2], os.Args[3])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(seen)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, address, id, command string) (*report, error) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	client := v1.NewExperimentServiceClient(conn)
	created, err := client.CreateExperiment(ctx, &v1.CreateExperimentRequest{
		Parent:       team,
		ExperimentId: id,
		RequestId:    "go-" + id,
		Experiment: &v1.Experiment{
			Labels: map[string]string{"client": "go"},
			Spec:   &v1.ExperimentSpec{TaskGroups: []*v1.TaskGroup{{Command: command}}},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("create: %w", err)
	}
	seen := &report{Name: created.GetExperiment().GetName(), Uid: created.GetExperiment().GetUid()}
	watched := make(chan error, 1)
	go func() { watched <- watch(ctx, client, id, seen) }()
	if err := follow(ctx, client, seen); err != nil {
		return nil, fmt.Errorf("follow: %w", err)
	}
	if err := <-watched; err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	final, err := client.GetExperiment(ctx, &v1.GetExperimentRequest{Name: seen.Name})
	if err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	seen.FinalState = final.GetExperiment().GetState().String()
	seen.FinalReason = final.GetExperiment().GetReason()
	return seen, nil
}

// watch collects the changes of the experiment until the server ends the stream.
func watch(ctx context.Context, client v1.ExperimentServiceClient, id string, seen *report) error {
	stream, err := client.WatchExperiments(ctx, &v1.WatchExperimentsRequest{
		Parent:        team,
		Filter:        fmt.Sprintf("experiment_id = %q", id),
		UntilTerminal: true,
	})
	if err != nil {
		return err
	}
	for {
		frame, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if frame.GetResumeToken() == "" {
			return errors.New("a frame without a resume token")
		}
		if frame.GetBookmark().GetType() == v1.BookmarkType_BOOKMARK_TYPE_INITIAL_STATE_COMPLETE {
			seen.Initial = len(seen.Changes)
		}
		if got := frame.GetChange(); got != nil {
			seen.Changes = append(seen.Changes, change{
				Type:     got.GetType().String(),
				State:    got.GetExperiment().GetState().String(),
				Revision: got.GetRevision(),
			})
		}
	}
}

// follow reads the output, byte for byte, until the server says that it is complete.
func follow(ctx context.Context, client v1.ExperimentServiceClient, seen *report) error {
	stream, err := client.StreamLogs(ctx, &v1.StreamLogsRequest{
		Name:   seen.Name,
		Follow: true,
		Format: v1.LogFormat_LOG_FORMAT_BYTES,
	})
	if err != nil {
		return err
	}
	for {
		frame, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if end := frame.GetEnd(); end != nil {
			seen.EndState = end.GetState().String()
		}
		if err := seen.add(frame.GetChunk()); err != nil {
			return err
		}
	}
}

// add appends a piece of output, which has to start where the one before ended.
func (seen *report) add(chunk *v1.LogChunk) error {
	if chunk == nil {
		return nil
	}
	output := &seen.Stdout
	if chunk.GetStream() == v1.LogStream_LOG_STREAM_STDERR {
		output = &seen.Stderr
	}
	if chunk.GetOffset() != int64(len(*output)) {
		return fmt.Errorf("%s: offset %d after %d bytes", chunk.GetStream(), chunk.GetOffset(), len(*output))
	}
	*output = append(*output, chunk.GetData()...)
	return nil
}
