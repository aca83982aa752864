// What every script of Node here shares: one JSON line a case.
export const URL_ = process.env.GATEWAY_URL; // without /v1
export const BASE = URL_ + '/v1';
export const BUSY = URL_ + '/busy/v1'; // answers the first request of each path with 429
export const KEY = process.env.GATEWAY_KEY;
export const MODEL = process.env.GATEWAY_MODEL;
export const PLACE = {
  type: 'object', properties: { city: { type: 'string', enum: ['Paris', 'London', 'Rome'] } }, required: ['city'],
  additionalProperties: false,
};

export function check(good, text) {
  if (!good) throw new Error(text);
}

export async function run(name, body) {
  let ok = true, detail = '';
  try {
    detail = String((await body()) ?? '');
  } catch (error) {
    console.error(error);
    ok = false;
    detail = `${error?.name}: ${error?.message}`;
  }
  console.log('\nCASE ' + JSON.stringify({ case: name, ok, detail: detail.slice(0, 600) }));
}

// The exception that `body` throws.
export async function thrown(body) {
  try {
    await body();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}
