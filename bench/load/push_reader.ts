/**
 * A process of browsers that do nothing but read: raw TCP, the WebSocket handshake by hand, bytes counted and thrown
 * away, so that the servers are what is measured.
 */
import { connect } from 'node:net';
import { probeName, topicCount } from './push_server.js';

export interface ReaderOrder {
  readonly port: number;
  readonly clients: number;
  readonly subscribes: boolean;
}

const scratch = Buffer.alloc(256 * 1024);
let bytes = 0;
/** A masked, empty one. */
const pong = Buffer.from([0x8a, 0x80, 0, 0, 0, 0]);

/** A masked text frame; the mask is zero. */
function textFrame(text: string): Buffer {
  const payload = Buffer.from(text);
  return Buffer.concat([
    Buffer.from([0x81, 0x80 | 126, payload.length >> 8, payload.length & 255, 0, 0, 0, 0]),
    payload,
  ]);
}

function open(order: ReaderOrder): Promise<void> {
  return new Promise((resolve, reject) => {
    let isOpen = false;
    const socket = connect({
      port: order.port,
      host: '127.0.0.1',
      onread: {
        buffer: scratch,
        callback(length) {
          bytes += length;
          if (!isOpen) {
            isOpen = true;
            const topics = Array.from({ length: topicCount }, (_, index) => ({
              target: index + 1,
              probe: probeName,
            }));
            if (order.subscribes) socket.write(textFrame(JSON.stringify({ subscribe: topics })));
            resolve();
          }
          return true;
        },
      },
    });
    socket.on('error', reject);
    // As browsers answer pings: a client that says nothing is closed. Often enough that no ping is counted as data.
    setInterval(() => socket.write(pong), 10_000);
    const host = `127.0.0.1:${order.port}`;
    socket.write(
      `GET /pem/live HTTP/1.1\r\nHost: ${host}\r\nOrigin: http://${host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
        'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
    );
  });
}

process.on('message', (order: ReaderOrder | 'count') => {
  if (order === 'count') {
    process.send?.({ bytes });
    return;
  }
  Promise.all(Array.from({ length: order.clients }, () => open(order))).then(
    () => process.send?.({ ready: true }),
    () => process.exit(1),
  );
});
