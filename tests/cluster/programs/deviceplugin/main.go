// Command deviceplugin offers the devices of a file to the kubelet, in the place of a vendor's plugin.
//
// The file is JSON, resource name to device id to health:
//
//	{"nvidia.com/gpu": {"GPU-6f1a": "Healthy", "GPU-93c0": "Unhealthy"}, "nvidia.com/gpu.shared": {"GPU-77d2::0": "Healthy"}}
//
// It is read again all the time; what changes in it goes to the kubelet at once. A resource that leaves the file keeps
// its socket and has no devices.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

const (
	pollInterval    = 100 * time.Millisecond
	registerTimeout = 5 * time.Second
)

func main() {
	folder := flag.String("folder", api.DevicePluginPath, "the kubelet's folder of device plugins")
	file := flag.String("devices", "", "the file of devices")
	flag.Parse()

	served := map[string]*resource{}
	var last []byte
	for ; ; time.Sleep(pollInterval) {
		text, err := os.ReadFile(*file)
		if err != nil || bytes.Equal(text, last) {
			continue // not written yet, or nothing new
		}
		wanted := map[string]map[string]string{}
		if err := json.Unmarshal(text, &wanted); err != nil {
			log.Fatalf("%s: %v", *file, err)
		}
		last = text
		for name, r := range served {
			if _, still := wanted[name]; !still {
				r.offer(nil)
			}
		}
		for name, devices := range wanted {
			r, known := served[name]
			if !known {
				r = &resource{name: name, folder: *folder, changed: make(chan struct{})}
				served[name] = r
			}
			r.offer(devices)
			if !known {
				go r.run()
			}
		}
	}
}

// resource is one extended resource with its devices.
type resource struct {
	api.UnimplementedDevicePluginServer
	name, folder string

	mutex   sync.Mutex
	devices map[string]string // id to health
	changed chan struct{}     // closed, and made anew, with every change
}

func (r *resource) offer(devices map[string]string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if maps.Equal(r.devices, devices) {
		return
	}
	r.devices = devices
	close(r.changed)
	r.changed = make(chan struct{})
	log.Printf("%s: %d devices", r.name, len(devices))
}

func (r *resource) offered() ([]*api.Device, <-chan struct{}) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	devices := []*api.Device{}
	for _, id := range slices.Sorted(maps.Keys(r.devices)) {
		devices = append(devices, &api.Device{ID: id, Health: r.devices[id]})
	}
	return devices, r.changed
}

// run serves and registers, again and again: a kubelet that starts forgets its plugins and removes their sockets.
func (r *resource) run() {
	for {
		err := r.serve()
		log.Printf("%s: %v; registering again", r.name, err)
		time.Sleep(pollInterval)
	}
}

func (r *resource) serve() error {
	endpoint := strings.ReplaceAll(r.name, "/", "-") + ".sock"
	socket := filepath.Join(r.folder, endpoint)
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	api.RegisterDevicePluginServer(server, r)
	defer server.Stop()
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	if err := r.register(endpoint); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	log.Printf("%s: registered", r.name)
	for {
		select {
		case err := <-ended:
			return err
		case <-time.After(pollInterval):
			if _, err := os.Stat(socket); err != nil {
				return err
			}
		}
	}
}

func (r *resource) register(endpoint string) error {
	kubelet := "unix://" + filepath.Join(r.folder, "kubelet.sock")
	connection, err := grpc.NewClient(kubelet, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	deadline, cancel := context.WithTimeout(context.Background(), registerTimeout)
	defer cancel()
	_, err = api.NewRegistrationClient(connection).Register(deadline, &api.RegisterRequest{
		Version: api.Version, Endpoint: endpoint, ResourceName: r.name,
	})
	return err
}

func (r *resource) GetDevicePluginOptions(context.Context, *api.Empty) (*api.DevicePluginOptions, error) {
	return &api.DevicePluginOptions{}, nil
}

func (r *resource) ListAndWatch(_ *api.Empty, stream api.DevicePlugin_ListAndWatchServer) error {
	for {
		devices, changed := r.offered()
		if err := stream.Send(&api.ListAndWatchResponse{Devices: devices}); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return nil
		case <-changed:
		}
	}
}

// Allocate names the devices in the variable by which a container runtime of the vendor would mount them.
func (r *resource) Allocate(_ context.Context, request *api.AllocateRequest) (*api.AllocateResponse, error) {
	response := &api.AllocateResponse{}
	for _, container := range request.ContainerRequests {
		visible := strings.Join(container.DevicesIds, ",")
		response.ContainerResponses = append(response.ContainerResponses, &api.ContainerAllocateResponse{
			Envs: map[string]string{"NVIDIA_VISIBLE_DEVICES": visible},
		})
	}
	return response, nil
}
