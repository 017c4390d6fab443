// Command dradriver offers the devices of a file by dynamic resource allocation, in the place of a vendor's driver.
//
// The file is JSON, device name to its attributes, and is read again all the time:
//
//	{"gpu-0": {"uuid": "GPU-6f1a", "type": "gpu"}, "gpu-1-mig-9-4-1": {"uuid": "MIG-93c0", "type": "mig"}}
//
// There is one pool, of the node's name. Preparing a claim makes nothing: it names the devices, as the kubelet's
// PodResources then tells them.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	resource "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/dynamic-resource-allocation/resourceslice"
)

const pollInterval = 100 * time.Millisecond

func main() {
	name := flag.String("driver", "gpu.nvidia.com", "the driver's name")
	node := flag.String("node", "", "the node's name")
	kubeconfig := flag.String("kubeconfig", "", "how to reach the API server")
	file := flag.String("devices", "", "the file of devices")
	flag.Parse()
	if err := run(*name, *node, *kubeconfig, *file); err != nil {
		log.Fatal(err)
	}
}

func run(name, node, kubeconfig, file string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	folder := filepath.Join(kubeletplugin.KubeletPluginsDir, name)
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	ctx := context.Background()
	helper, err := kubeletplugin.Start(ctx, driver{name}, kubeletplugin.DriverName(name),
		kubeletplugin.NodeName(node), kubeletplugin.KubeClient(client), kubeletplugin.PluginDataDirectoryPath(folder))
	if err != nil {
		return err
	}
	defer helper.Stop()
	var last []byte
	for ; ; time.Sleep(pollInterval) {
		text, err := os.ReadFile(file)
		if err != nil || bytes.Equal(text, last) {
			continue // not written yet, or nothing new
		}
		devices, err := parse(text)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		pool := resourceslice.Pool{Slices: []resourceslice.Slice{{Devices: devices}}}
		pools := map[string]resourceslice.Pool{node: pool}
		if err := helper.PublishResources(ctx, resourceslice.DriverResources{Pools: pools}); err != nil {
			return err
		}
		last = text
		log.Printf("%s: %d devices", name, len(devices))
	}
}

func parse(text []byte) ([]resource.Device, error) {
	wanted := map[string]map[resource.QualifiedName]any{}
	if err := json.Unmarshal(text, &wanted); err != nil {
		return nil, err
	}
	devices := []resource.Device{}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		device := resource.Device{Name: name, Attributes: map[resource.QualifiedName]resource.DeviceAttribute{}}
		for key, value := range wanted[name] {
			attribute, err := attributeOf(value)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", name, key, err)
			}
			device.Attributes[key] = attribute
		}
		devices = append(devices, device)
	}
	return devices, nil
}

func attributeOf(value any) (resource.DeviceAttribute, error) {
	switch value := value.(type) {
	case string:
		return resource.DeviceAttribute{StringValue: &value}, nil
	case bool:
		return resource.DeviceAttribute{BoolValue: &value}, nil
	case float64:
		whole := int64(value)
		return resource.DeviceAttribute{IntValue: &whole}, nil
	}
	return resource.DeviceAttribute{}, errors.New("neither text, number nor truth value")
}

type driver struct{ name string }

func (d driver) PrepareResourceClaims(
	_ context.Context, claims []*resource.ResourceClaim,
) (map[types.UID]kubeletplugin.PrepareResult, error) {
	prepared := map[types.UID]kubeletplugin.PrepareResult{}
	for _, claim := range claims {
		devices := []kubeletplugin.Device{}
		for _, granted := range claim.Status.Allocation.Devices.Results {
			if granted.Driver != d.name {
				continue
			}
			devices = append(devices, kubeletplugin.Device{
				Requests: []string{granted.Request}, PoolName: granted.Pool, DeviceName: granted.Device,
				CDIDeviceIDs: []string{fmt.Sprintf("k8s.%s/claim=%s-%s", d.name, claim.UID, granted.Device)},
			})
		}
		prepared[claim.UID] = kubeletplugin.PrepareResult{Devices: devices}
	}
	return prepared, nil
}

func (d driver) UnprepareResourceClaims(
	_ context.Context, claims []kubeletplugin.NamespacedObject,
) (map[types.UID]error, error) {
	done := map[types.UID]error{}
	for _, claim := range claims {
		done[claim.UID] = nil
	}
	return done, nil
}

// HandleError ends the driver where its ResourceSlices can never be published; what may pass is tried again.
func (d driver) HandleError(_ context.Context, err error, message string) {
	if errors.Is(err, kubeletplugin.ErrRecoverable) {
		log.Printf("%s: %v", message, err)
		return
	}
	log.Fatalf("%s: %v", message, err)
}
