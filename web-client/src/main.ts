import './styles/fonts.css';
import './styles/italia.scss';
import './styles/app.css';
import { mount } from 'svelte';
import App from './App.svelte';
import { startLanguage } from './i18n/i18n.svelte';

startLanguage();

const target = document.getElementById('app');
if (!target) throw new Error('index.html has an element #app');
mount(App, { target });
