package media

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/cc"
	"github.com/pion/interceptor/pkg/gcc"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/interceptor/pkg/report"
	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/logging"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
)

// Times and rates of the transport.
const (
	// disconnectedAfter is the silence after which a connection counts as disconnected.
	// Keep-alives come every two seconds.
	disconnectedAfter = 5 * time.Second
	// failedAfter is the silence after which a path is given up: long enough for a change
	// of network with a restart.
	failedAfter = 30 * time.Second
	// keepAlive is the interval of STUN keep-alives.
	keepAlive = 2 * time.Second
	// relayWait delays the choice of a relayed path, so that a direct one is preferred if
	// there is one.
	relayWait = 500 * time.Millisecond
	// senderReports is the interval of sender reports. They are cheap, and frequent ones
	// synchronize sound and video from the first frames on.
	senderReports = 200 * time.Millisecond
	// nackEvery is the interval at which missing packets are requested.
	nackEvery = 40 * time.Millisecond
	// nackPackets is the number of packets kept for retransmission: two seconds at 4 Mbit/s
	// (pion requires a power of two).
	nackPackets = 1024

	// startBitRate, minBitRate and maxBitRate bound congestion control, in bit/s: 480p at
	// the start, up to 720p.
	startBitRate = 800_000
	minBitRate   = 60_000
	maxBitRate   = 3_000_000
)

// Payload types of the codecs: dynamic numbers (RFC 3551), as used by browsers.
const (
	opusType = 111
	h264Type = 102
	vp8Type  = 96
)

// codecParameters describes a codec in SDP.
func codecParameters(c Codec) webrtc.RTPCodecParameters {
	p := webrtc.RTPCodecParameters{RTPCodecCapability: webrtc.RTPCodecCapability{ClockRate: c.ClockRate()}}
	feedback := []webrtc.RTCPFeedback{{Type: "transport-cc"}, {Type: "nack"}}
	switch c {
	case Opus:
		p.PayloadType, p.MimeType, p.Channels = opusType, webrtc.MimeTypeOpus, 2
		p.SDPFmtpLine = "minptime=10;useinbandfec=1"
	case H264:
		p.PayloadType, p.MimeType = h264Type, webrtc.MimeTypeH264
		p.SDPFmtpLine = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"
		feedback = append(feedback, webrtc.RTCPFeedback{Type: "nack", Parameter: "pli"}, webrtc.RTCPFeedback{Type: "ccm", Parameter: "fir"})
	case VP8:
		p.PayloadType, p.MimeType = vp8Type, webrtc.MimeTypeVP8
		feedback = append(feedback, webrtc.RTCPFeedback{Type: "nack", Parameter: "pli"}, webrtc.RTCPFeedback{Type: "ccm", Parameter: "fir"})
	}
	p.RTCPFeedback = feedback
	return p
}

// codecOf returns the codec for a MIME type, or "" if it is not supported.
func codecOf(mime string) Codec {
	for _, c := range []Codec{Opus, H264, VP8} {
		if codecParameters(c).MimeType == mime {
			return c
		}
	}
	return ""
}

func rtpKind(k Kind) webrtc.RTPCodecType {
	if k == Audio {
		return webrtc.RTPCodecTypeAudio
	}
	return webrtc.RTPCodecTypeVideo
}

// newPeerConnection creates a connection with the given codecs only. estimator receives the
// congestion control when it is created.
func newPeerConnection(o Options, codecs []Codec, estimator func(cc.BandwidthEstimator)) (*webrtc.PeerConnection, error) {
	engine := &webrtc.MediaEngine{}
	slices.Sort(codecs)
	for _, c := range slices.Compact(codecs) {
		if err := engine.RegisterCodec(codecParameters(c), rtpKind(c.Kind())); err != nil {
			return nil, fmt.Errorf("register %s: %w", c, err)
		}
	}
	for _, k := range []Kind{Audio, Video} {
		ext := webrtc.RTPHeaderExtensionCapability{URI: sdp.TransportCCURI}
		if err := engine.RegisterHeaderExtension(ext, rtpKind(k)); err != nil {
			return nil, fmt.Errorf("register header extension: %w", err)
		}
	}
	registry, err := interceptors(estimator)
	if err != nil {
		return nil, err
	}
	settings := webrtc.SettingEngine{LoggerFactory: quietLoggers{}}
	settings.SetIncludeLoopbackCandidate(o.Loopback)
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6})
	settings.DisableActiveTCP(true)
	settings.SetICETimeouts(disconnectedAfter, failedAfter, keepAlive)
	settings.SetRelayAcceptanceMinWait(relayWait)
	settings.SetRemoteIPFilter(func(ip net.IP) bool {
		return !ip.IsUnspecified() && !ip.IsMulticast() && (o.Loopback || !ip.IsLoopback())
	})
	settings.BufferFactory = o.buffer
	if o.net != nil {
		settings.SetNet(o.net)
	}
	config, err := configuration(o)
	if err != nil {
		return nil, err
	}
	api := webrtc.NewAPI(webrtc.WithMediaEngine(engine), webrtc.WithInterceptorRegistry(registry), webrtc.WithSettingEngine(settings))
	pc, err := api.NewPeerConnection(config)
	if err != nil {
		return nil, fmt.Errorf("new peer connection: %w", err)
	}
	return pc, nil
}

func iceServers(list []ICEServer) (out []webrtc.ICEServer) {
	for _, s := range list {
		out = append(out, webrtc.ICEServer{URLs: s.URLs, Username: s.Username, Credential: s.Password})
	}
	return out
}

func configuration(o Options) (webrtc.Configuration, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return webrtc.Configuration{}, fmt.Errorf("certificate key: %w", err)
	}
	certificate, err := webrtc.GenerateCertificate(private)
	if err != nil {
		return webrtc.Configuration{}, fmt.Errorf("certificate: %w", err)
	}
	c := webrtc.Configuration{
		Certificates: []webrtc.Certificate{*certificate},
		BundlePolicy: webrtc.BundlePolicyMaxBundle,
	}
	if o.RelayOnly {
		c.ICETransportPolicy = webrtc.ICETransportPolicyRelay
	}
	c.ICEServers = iceServers(o.ICEServers)
	return c, nil
}

// interceptors returns retransmission, reports and congestion control; nothing here reads
// the rest of the default set. The order matters: the first one is nearest to the network,
// so retransmissions are numbered and counted, too.
func interceptors(estimator func(cc.BandwidthEstimator)) (*interceptor.Registry, error) {
	control, err := cc.NewInterceptor(func() (cc.BandwidthEstimator, error) {
		return gcc.NewSendSideBWE(
			gcc.SendSideBWEInitialBitrate(startBitRate), gcc.SendSideBWEMinBitrate(minBitRate),
			gcc.SendSideBWEMaxBitrate(maxBitRate), gcc.SendSideBWEPacer(gcc.NewNoOpPacer()),
			gcc.WithLoggerFactory(quietLoggers{}))
	})
	if err != nil {
		return nil, fmt.Errorf("congestion control: %w", err)
	}
	control.OnNewPeerConnection(func(_ string, e cc.BandwidthEstimator) { estimator(e) })
	r := &interceptor.Registry{}
	r.Add(control)
	var failed error
	add := func(f interceptor.Factory, err error) {
		if err != nil {
			failed = err
			return
		}
		r.Add(f)
	}
	add(twcc.NewHeaderExtensionInterceptor())
	add(twcc.NewSenderInterceptor(twcc.WithLoggerFactory(quietLoggers{})))
	add(report.NewReceiverInterceptor(report.WithReceiverLoggerFactory(quietLoggers{})))
	add(report.NewSenderInterceptor(report.SenderInterval(senderReports), report.WithSenderLoggerFactory(quietLoggers{})))
	add(nack.NewResponderInterceptor(nack.ResponderSize(nackPackets), nack.WithResponderLoggerFactory(quietLoggers{})))
	add(nack.NewGeneratorInterceptor(nack.GeneratorSize(nackPackets), nack.GeneratorInterval(nackEvery), nack.WithGeneratorLoggerFactory(quietLoggers{})))
	if failed != nil {
		return nil, fmt.Errorf("interceptors: %w", failed)
	}
	return r, nil
}

// quietLoggers discards pion's log, which contains addresses and SDP.
type quietLoggers struct{}

// NewLogger implements [logging.LoggerFactory].
func (quietLoggers) NewLogger(string) logging.LeveledLogger { return quietLogger{} }

type quietLogger struct{}

func (quietLogger) Trace(string)          {}
func (quietLogger) Tracef(string, ...any) {}
func (quietLogger) Debug(string)          {}
func (quietLogger) Debugf(string, ...any) {}
func (quietLogger) Info(string)           {}
func (quietLogger) Infof(string, ...any)  {}
func (quietLogger) Warn(string)           {}
func (quietLogger) Warnf(string, ...any)  {}
func (quietLogger) Error(string)          {}
func (quietLogger) Errorf(string, ...any) {}
