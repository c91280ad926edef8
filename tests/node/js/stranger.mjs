// A js-libp2p peer that nobody has admitted: dials ADDRESS, identifies and pings the node behind it, and tries each
// further argument as a protocol. Prints one JSON object.
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { identify } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

// Node 20 lacks it, and the packages use it.
Promise.withResolvers ??= function () {
  const made = {}
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }))
  return made
}

const [address, ...protocols] = process.argv.slice(2)
const host = await createLibp2p({
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: { identify: identify(), ping: ping() }
})
const identified = new Promise(resolve => host.addEventListener('peer:identify', event => resolve(event.detail)))
const connection = await host.dial(multiaddr(address))
const rtt = await host.services.ping.ping(connection.remotePeer)
const told = await identified
const refused = {}
for (const protocol of protocols) {
  try {
    const stream = await connection.newStream(protocol, { signal: AbortSignal.timeout(5000) })
    // A stream that was opened in good faith is refused by its end or its reset.
    refused[protocol] = await new Promise(resolve => {
      stream.addEventListener('message', () => resolve(false))
      stream.addEventListener('close', () => resolve(true))
      stream.addEventListener('remoteCloseWrite', () => resolve(true))
      setTimeout(() => resolve(false), 5000).unref()
    })
  } catch {
    refused[protocol] = true
  }
}
console.log(JSON.stringify({
  peer: connection.remotePeer.toString(),
  rtt,
  agent: told.agentVersion,
  protocols: told.protocols,
  refused
}))
await host.stop()
process.exit(0)
