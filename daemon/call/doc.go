// Package call makes calls: a state machine that is a pure function (Next), and
// the Service that feeds it with what users, peers, media and time do and carries
// out the effects that it asks for. It knows neither the network nor the media
// library: both are interfaces. A Service belongs to one account on one device;
// its methods may be called from any goroutine, and Run owns everything until it
// returns.
package call
