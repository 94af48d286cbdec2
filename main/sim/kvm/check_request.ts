/** Taking a request. */
import { KVM_REQ, type RequestNumber } from '../state/requests.ts';
import { buffered } from '../state/store_buffer.ts';
import { kvm, type Machine } from '../steps.ts';
import { noteTaken } from './kvm_main.ts';

/** Has the thread made EVENT itself, and has that not reached memory yet? */
const isOwnEvent = (m: Machine, vcpu: number, request: RequestNumber): boolean =>
  request === KVM_REQ.EVENT && m.forwarded(buffered.EVENT, vcpu) > 0;

/**
 * Is the request set? Clears it, so that a request made while the handler runs is seen later.
 * Without `req-clear-before-handle` the caller clears it behind the handler.
 */
export const kvm_check_request = kvm(
  'include/linux/kvm_host.h',
  function* kvm_check_request(m: Machine, vcpuIndex: number, request: RequestNumber) {
    const { requests } = m.vcpu[vcpuIndex]!;
    yield m.step('is request {request} set?', request);
    if (!requests.has(request) && !isOwnEvent(m, vcpuIndex, request)) return false;
    m.drainStores();
    if (m.on('req-clear-before-handle')) {
      yield m.step('clear request {request}', request);
      requests.clear(request);
    }
    noteTaken(m, vcpuIndex, request);
    return true;
  },
);
