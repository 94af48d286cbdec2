/** irqfd: a device, or the kernel for it, signals a file and that is an interrupt of the guest. */
import { kvm, type Machine } from '../steps.ts';
import { EWOULDBLOCK } from './errno.ts';
import { kvm_arch_set_irq_inatomic } from './irq_comm.ts';
import { kvm_set_irq, msiOfGsi } from './irqchip.ts';

const file = 'virt/kvm/eventfd.c';

/** The way that may sleep: the GSI goes up and down again. */
const irqfd_inject = kvm(file, function* irqfd_inject(m: Machine, gsi: number) {
  yield* kvm_set_irq(m, gsi, 1);
  yield* kvm_set_irq(m, gsi, 0);
});

/**
 * The file of a GSI is signalled.
 * @omits resampling irqfds; the work item: the signaller itself does what must not be atomic
 */
export const irqfd_wakeup = kvm(file, function* irqfd_wakeup(m: Machine, gsi: number) {
  yield m.step('read the route of GSI {gsi}', gsi);
  const msi = msiOfGsi(m, gsi);
  const result: number =
    msi === undefined ? -EWOULDBLOCK : yield* kvm_arch_set_irq_inatomic(m, msi);
  if (result === -EWOULDBLOCK) yield* irqfd_inject(m, gsi);
});
