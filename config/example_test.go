package config_test

import (
	"fmt"

	"github.com/sallyport/sallyport/config"
)

func ExampleLoadGateway() {
	gateway, err := config.LoadGateway("gateway.yaml", []byte(`
door:
  host: door.example.com
routes:
  - name: grafana
    host: grafana.example.com
    backend: {url: https://grafana:8443}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(gateway.DoorURL())
	fmt.Println(gateway.Routes[0].Backend.Name)
	fmt.Println(gateway.Warnings())
	// Output:
	// https://door.example.com/
	// grafana.backend.sallyport.internal
	// [routes[0].allow: lets nobody in to grafana]
}

func ExampleFaults() {
	_, err := config.LoadGateway("gateway.yaml", []byte(`
door:
  host: Door.example.com
sesion: {idle: 2h}
routes:
  - name: grafana
    host: grafana.example.com
    backend: {url: http://grafana:3000}
`))
	fmt.Println(err)
	// Output:
	// gateway.yaml:3: door.host: found "Door.example.com", expected a DNS name such as grafana.example.com, in lower case
	// gateway.yaml:4: sesion: found an unknown key, expected one of door, listen, clients, vault, saml, session, access_log, forward_auth, tracing, stop, limits, routes; did you mean session?
	// gateway.yaml:8: routes[0].backend.url: found "http://grafana:3000", expected https://host[:port] of the tool's sidecar, such as https://grafana:8443
}
